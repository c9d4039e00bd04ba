//! Other people's programs against ours: each peer must be there, and none is skipped.

mod age;
mod ci_examples;
mod emulator;
mod pcsc;
mod speed;
mod traces;
