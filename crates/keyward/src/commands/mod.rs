//! One file per command: what is said, in which order, and what is called for it.

pub mod cat;
pub mod doctor;
pub mod epoch;
pub mod holder;
pub mod init;
pub mod key;
pub mod ls;
pub mod open;
pub mod open_many;
pub mod receipt;
pub mod recover;
pub mod reseal;
pub mod revoke;
pub mod seal;
pub mod sealer;
pub mod token;
pub mod vault;
pub mod verify;
