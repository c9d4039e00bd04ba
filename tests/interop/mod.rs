//! Other people's programs against ours: each peer must be there, and none is skipped.

mod age;
mod age_plugin_yubikey;
mod ci_examples;
mod emulator;
mod nitrokey_card;
mod pcsc;
mod pkcs11;
mod pyscard;
mod speed;
mod traces;
mod ykman_suite;
mod yubikey_suite;
