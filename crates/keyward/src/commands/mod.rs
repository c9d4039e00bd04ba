//! One file per command: what is said, in which order, and what is called for it.

pub mod doctor;
pub mod init;
pub mod ls;
pub mod open;
pub mod seal;
pub mod token;
pub mod vault;
