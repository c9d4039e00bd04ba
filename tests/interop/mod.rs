//! Other people's programs against ours: each peer must be there, and none is skipped.

mod age;
mod age_plugin_yubikey;
mod emulator;
mod nitrokey_card;
mod ykman_suite;
mod yubikey_suite;
