//! An archive's own key: made without any secret, opened by the policy, and no other archive with it.

use keyward_age::{Header, SealOptions, SealWriter, Suite};
use keyward_custody::{Class, Error, SealedTo, own_key_suffix};
use std::io::Write as _;

use crate::life::{Vault, team};
use crate::people::{Person, combine};

fn sealed(recipients: &[(SealedTo, keyward_age::Recipient)]) -> Header {
    let recipients: Vec<_> = recipients.iter().map(|(_, recipient)| recipient.clone()).collect();
    let mut writer = SealWriter::new(&recipients, Vec::new(), SealOptions { threads: 1 }).unwrap();
    writer.write_all(b"an archive").unwrap();
    Header::read(&mut writer.finish().unwrap().as_slice()).unwrap()
}

#[test]
fn it_opens_its_archive_and_no_other() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let people = team(suite);
        let [alice, bob, carol, dave]: [&Person; 4] = people.iter().collect::<Vec<_>>().try_into().unwrap();
        let vault = Vault::new(&people, "2 of (alice, bob, carol, dave)");
        let (one, two) = (vault.now.own_key().unwrap(), vault.now.own_key().unwrap());
        assert_eq!(one.recipients.iter().map(|(to, _)| to).collect::<Vec<_>>(), [&SealedTo::OwnKey]);
        assert_ne!(own_key_suffix(one.file.digest()), own_key_suffix(two.file.digest()));
        assert!(
            own_key_suffix(one.file.digest()).starts_with(".key-")
                && own_key_suffix(one.file.digest()).ends_with(".json")
        );

        let file = vault.now.own_key_file(one.file.bytes()).unwrap();
        assert_eq!(file.digest(), one.file.digest());
        let header = sealed(&one.recipients);
        for pair in [[alice, carol], [bob, dave]] {
            let identity = combine(&file, &pair).unwrap().seed.identity().unwrap();
            assert!(header.unwrap_soft(&identity).is_ok());
            assert!(sealed(&two.recipients).unwrap_soft(&identity).is_err(), "another archive");
        }
        assert!(combine(&file, &[alice]).is_err());
        let epoch = combine(&vault.keys[0], &[alice, bob]).unwrap().seed.identity().unwrap();
        assert!(header.unwrap_soft(&epoch).is_err(), "the epoch does not open it");
    }
}

#[test]
fn direct_holders_stay_and_the_epoch_leaves() {
    let vault = Vault::new(&team(Suite::Hybrid), "alice or bob or (carol and dave)");
    let own = vault.now.own_key().unwrap();
    let names: Vec<String> = own.recipients.iter().map(|(to, _)| to.to_string()).collect();
    assert_eq!(names, ["alice", "bob", "its own key"]);
}

#[test]
fn a_key_file_of_something_else_is_named() {
    let people = team(Suite::Classic);
    let vault = Vault::new(&people, "2 of (alice, bob, carol, dave)");
    let refused = |bytes: &[u8]| match vault.now.own_key_file(bytes) {
        Err(error) => {
            assert_eq!(error.class(), Class::NotVerified);
            match error {
                Error::KeyFileOfAnother { member, .. } => member,
                other => panic!("{other}"),
            }
        }
        Ok(_) => "none",
    };
    assert_eq!(refused(vault.keys[0].bytes()), "key", "the epoch's");
    let file = vault.now.own_key().unwrap().file;
    let text = String::from_utf8(file.bytes().to_vec()).unwrap();
    let id = vault.now.statement().vault_id().to_string();
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    assert_eq!(refused(&edit(&id, "00112233445566778899aabbccddeeff")), "vault");
    assert_eq!(refused(&edit("\"version\":1", "\"version\":2")), "key");
    assert_eq!(refused(&edit("\"generation\":1", "\"generation\":2")), "generation");
    assert_eq!(refused(file.bytes()), "none");
    let other =
        Vault::new(&team(Suite::Hybrid), "2 of (alice, bob, carol, dave)").now.own_key().unwrap().file;
    assert_eq!(refused(other.bytes()), "recipient");
    assert!(matches!(
        vault.now.own_key_file(b"{}"),
        Err(Error::Malformed { .. } | Error::NotCanonical { .. })
    ));
}
