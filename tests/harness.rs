//! The harness itself: a comparison that sees nothing, or a bound that does not hold, would prove nothing.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    panic::catch_unwind,
    time::Duration,
};

use keyward_tests::{Noise, Run, Sandbox, assert_same, small_tree, snapshot};

#[test]
fn a_tree_differs_from_its_copy_in_one_thing_at_a_time() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    small_tree(&tree);
    let original = snapshot(&tree);
    assert!(original.len() > 60, "{} entries", original.len());
    let changes: [(&str, &dyn Fn()); 6] = [
        ("content", &|| {
            let time = fs::metadata(tree.join("letter.txt")).unwrap().modified().unwrap();
            fs::write(tree.join("letter.txt"), "Dear eve,\nthe photos are in the usual place.\n").unwrap();
            fs::File::open(tree.join("letter.txt")).unwrap().set_modified(time).unwrap();
        }),
        ("mode", &|| fs::set_permissions(tree.join("letter.txt"), Permissions::from_mode(0o604)).unwrap()),
        ("time", &|| {
            let file = fs::File::open(tree.join("letter.txt")).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.set_modified(time + Duration::from_nanos(1)).unwrap();
        }),
        ("new entry", &|| fs::write(tree.join("new"), "").unwrap()),
        ("link", &|| {
            fs::remove_file(tree.join("odd/links/dangling")).unwrap();
            std::os::unix::fs::symlink("elsewhere", tree.join("odd/links/dangling")).unwrap();
        }),
        ("hard link", &|| {
            fs::remove_file(tree.join("odd/links/hard")).unwrap();
            fs::copy(tree.join("odd/links/target"), tree.join("odd/links/hard")).unwrap();
        }),
    ];
    let mut last = original;
    for (name, change) in changes {
        change();
        let now = snapshot(&tree);
        assert_ne!(last, now, "{name}");
        let (last_one, this_one) = (last.clone(), now.clone());
        assert!(catch_unwind(move || assert_same(&last_one, &this_one)).is_err(), "{name}");
        last = now;
    }
    assert_same(&last, &snapshot(&tree));
}

#[test]
fn a_program_that_hangs_is_ended_with_its_children() {
    let hang = || {
        Run::new("/bin/sh").args(["-c", "sleep 600 & wait"]).limit(Duration::from_millis(200)).go().success();
    };
    let message = catch_unwind(hang).unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.starts_with("not done after"), "{message}");
}

#[test]
fn a_program_has_no_terminal_and_only_the_environment_it_is_given() {
    let sandbox = Sandbox::new();
    sandbox.run("sh").args(["-c", "(: </dev/tty) 2>/dev/null"]).go().failure().no_stdout();
    Run::new("env").env("ONE", "1").env_remove("PATH").go().success().stdout_is("ONE=1\n");
}

#[test]
fn noise_is_the_same_for_the_same_seed_and_has_the_size_asked_for() {
    let make = |seed, count| {
        let mut bytes = Vec::new();
        Noise::new(seed).write(&mut bytes, count).unwrap();
        bytes
    };
    assert_eq!(make(7, 3_000_001), make(7, 3_000_001));
    assert_eq!(make(7, 3_000_001).len(), 3_000_001);
    assert_ne!(make(7, 64), make(8, 64));
}
