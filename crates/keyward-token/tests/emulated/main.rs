//! Enrolling and using emulated YubiKeys: over the PC/SC socket, and in process where APDUs are counted.

mod cold;
mod enrolment;
mod harness;
mod readers;
