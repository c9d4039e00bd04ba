//! What a seal leaves out, and that it says how much.

use std::fs;
use std::path::Path;
use std::process::Command;

use keyward_archive::{Filter, Kind, Noticed, Progress, SealOptions, SealReport, seal_tree};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::support::*;

fn tree(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

/// Seals `tree` and `more` with a filter; the paths in the archive and the report.
fn sealed(temp: &Path, filter: Filter) -> (Vec<String>, SealReport) {
    let options = SealOptions { filter, ..SealOptions::default() };
    let to = temp.join("a.age");
    let sources: Vec<_> =
        ["tree", "more"].iter().map(|name| temp.join(name)).filter(|path| path.exists()).collect();
    let report = seal_tree(&sources, &recipients(), &to, &options, &()).unwrap();
    let entries = unlock(&to).unwrap().index(&()).unwrap().entries;
    fs::remove_file(&to).unwrap();
    // What a progress bar is told to expect is what comes.
    let totals = Totals { expected: entries.len() as u64, ..Totals::default() };
    seal_tree(&sources, &recipients(), &to, &options, &totals).unwrap();
    fs::remove_file(to).unwrap();
    assert_eq!(*totals.found.lock().unwrap(), (entries.len() as u64, report.bytes));
    let paths = entries.iter().filter(|entry| entry.kind == Kind::File);
    (paths.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect(), report)
}

/// What was counted beside the sealing, which waits until as many entries were counted as are expected.
#[derive(Default)]
struct Totals {
    expected: u64,
    found: Mutex<(u64, u64)>,
    more: Condvar,
}

impl Progress for Totals {
    fn found(&self, entries: u64, bytes: u64) {
        let mut found = self.found.lock().unwrap();
        *found = (found.0 + entries, found.1 + bytes);
        self.more.notify_all();
    }

    fn wants_total(&self) -> bool {
        true
    }

    fn stopped(&self) -> bool {
        let found = self.found.lock().unwrap();
        let patience = Duration::from_secs(60);
        let missing = |found: &mut (u64, u64)| found.0 < self.expected;
        self.more.wait_timeout_while(found, patience, missing).unwrap().1.timed_out()
    }
}

#[test]
fn patterns_count_from_each_source_and_what_they_leave_out_is_counted() {
    let temp = tempfile::tempdir().unwrap();
    tree(
        &temp.path().join("tree"),
        &["a.o", "a.c", "target/x", "target/y/z", "src/target", "src/b.o", "src/keep.o"],
    );
    tree(&temp.path().join("more"), &["a.o", "tree/x", "src/b.o"]);
    let (paths, report) = sealed(temp.path(), Filter::default());
    assert_eq!((paths.len(), report.excluded), (10, 0));
    let filter = Filter::new(["*.o", "!keep.o", "/target/"]).unwrap();
    let (paths, report) = sealed(temp.path(), filter);
    assert_eq!(paths, ["tree/a.c", "tree/src/keep.o", "tree/src/target", "more/tree/x"]);
    assert_eq!(report.excluded, 5);
    assert_eq!(report.notices, []);
    // A source itself is never left out.
    let (paths, report) = sealed(temp.path(), Filter::new(["tree", "more", "src"]).unwrap());
    assert_eq!(paths, ["tree/a.c", "tree/a.o", "tree/target/x", "tree/target/y/z", "more/a.o"]);
    assert_eq!(report.excluded, 3);
}

#[test]
fn ignore_files_and_caches_are_heard_when_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    tree(&root, &["a.log", "b.log", "sub/a.log", "sub/c", "cache/data/x", "cache/y"]);
    fs::write(root.join(".gitignore"), "*.log\n").unwrap();
    fs::write(root.join("sub/.keywardignore"), "!a.log\nc\n{\n").unwrap();
    fs::write(root.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    let (paths, report) = sealed(temp.path(), Filter::default());
    assert_eq!((paths.len(), report.excluded), (9, 0));
    let mut filter = Filter::default();
    filter.ignore_files = true;
    filter.caches = true;
    let (paths, report) = sealed(temp.path(), filter);
    assert_eq!(
        paths,
        ["tree/.gitignore", "tree/cache/CACHEDIR.TAG", "tree/sub/.keywardignore", "tree/sub/a.log"]
    );
    assert_eq!(report.excluded, 5);
    let noticed: Vec<_> = report.notices.iter().map(|notice| (notice.path.as_slice(), notice.what)).collect();
    assert_eq!(noticed, [(&b"tree/sub/.keywardignore"[..], Noticed::IgnoreFile)]);
}

/// A mount needs rights that a name space of one's own gives; the test runs itself again in one.
#[test]
fn another_file_system_stays_out_when_asked_for() {
    const MARK: &str = "keyward-other-file-system";
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(mount) = mounts.lines().find_map(|line| line.strip_prefix(MARK)) else {
        let temp = tempfile::tempdir().unwrap();
        tree(&temp.path().join("tree"), &["here", "other/covered", "z"]);
        let script = "mount -t tmpfs \"$1\" \"$2/tree/other\" && echo there >\"$2/tree/other/there\" && exec \"$0\" --exact \"$3\"";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args([MARK, temp.path().to_str().unwrap()])
            .arg("left_out::another_file_system_stays_out_when_asked_for")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    };
    let other = Path::new(mount.split_whitespace().next().unwrap());
    let temp = other.parent().and_then(Path::parent).unwrap();
    let (paths, report) = sealed(temp, Filter::default());
    assert_eq!(
        (paths, report.notices),
        (vec!["tree/here".into(), "tree/other/there".into(), "tree/z".into()], vec![])
    );
    let mut filter = Filter::default();
    filter.one_file_system = true;
    let (paths, report) = sealed(temp, filter);
    assert_eq!(paths, ["tree/here", "tree/z"]);
    assert_eq!(report.notices.len(), 1);
    assert_eq!(
        (report.notices[0].path.as_slice(), report.notices[0].what),
        (&b"tree/other"[..], Noticed::Elsewhere)
    );
    // The folder is there, empty.
    assert_eq!(report.entries, 4);
}
