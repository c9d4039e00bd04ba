//! Padding: sizes that tell little, and archives that are none the worse for it.

use std::fs;
use std::path::Path;

use keyward_archive::{Error, SealOptions, SealReport, seal_stream, seal_tree, seal_tree_to};
use proptest::prelude::*;

use crate::support::*;

/// Padmé as its paper writes it down (PURBs, PoPETs 2019, section 4), apart from our code.
fn padme(length: u64) -> u64 {
    let exponent = (length as f64).log2().floor() as u64;
    let size = (exponent as f64).log2().floor() as u64 + 1;
    let last = exponent - size;
    let mask = (1 << last) - 1;
    (length + mask) & !mask
}

fn padded(tree: &Path, to: &Path, pad: bool) -> SealReport {
    let options = SealOptions { pad, ..SealOptions::default() };
    seal_tree(&[tree.to_path_buf()], &recipients(), to, &options, &()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn sizes_are_padme_sizes_and_all_opens_as_before(files in 0_usize..20, magnitude in 0_u32..22, low in any::<u32>()) {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for n in 0..files {
            fs::write(tree.join(format!("{n}")), format!("file {n}")).unwrap();
        }
        fs::write(tree.join("noise"), noise((1 << magnitude) + (low % (1 << magnitude)) as usize)).unwrap();
        let (sealed, plain) = (temp.path().join("a.age"), temp.path().join("plain.age"));
        let report = padded(&tree, &sealed, true);
        padded(&tree, &plain, false);
        prop_assert_eq!(report.sealed, fs::metadata(&sealed).unwrap().len());
        prop_assert_eq!(report.sealed, padme(report.sealed));
        // Headers differ in length from one archive to the next; what is in the payload does not.
        let more = decrypted(&sealed).len() - decrypted(&plain).len();
        prop_assert!(more as u64 * 100 <= report.sealed * 12, "{} {}", more, report.sealed);
        // What is inside is the same to us and to others.
        let archive = unlock(&sealed).unwrap();
        prop_assert_eq!(archive.index(&()).unwrap(), unlock(&plain).unwrap().index(&()).unwrap());
        prop_assert!(extract(&sealed, &temp.path().join("out")).unwrap().indexed);
        prop_assert_eq!(picture(&tree), picture(&temp.path().join("out/tree")));
        let tar = run("zstd", &["-dc"], temp.path(), decrypted(&sealed));
        prop_assert!(tar == run("zstd", &["-dc"], temp.path(), decrypted(&plain)));
        let mut noise = Vec::new();
        archive.cat(b"tree/noise", &mut noise, &()).unwrap();
        prop_assert!(noise == fs::read(tree.join("noise")).unwrap());
    }
}

#[test]
fn what_is_sealed_as_it_is_is_not_padded() {
    let temp = tempfile::tempdir().unwrap();
    let (file, to) = (temp.path().join("f"), temp.path().join("f.age"));
    fs::write(&file, "contents").unwrap();
    let pad = SealOptions { pad: true, ..SealOptions::default() };
    let refused = seal_tree(std::slice::from_ref(&file), &recipients(), &to, &pad, &());
    assert!(matches!(refused, Err(Error::NotPadded)));
    let refused = seal_stream(&mut &b"contents"[..], &recipients(), &to, &pad, &());
    assert!(matches!(refused, Err(Error::NotPadded)));
    let refused = seal_tree_to(&[file], &recipients(), Vec::new(), &pad, &());
    assert!(matches!(refused, Err(Error::NotPadded)));
    assert_eq!(names(temp.path()), ["f"]);
}
