//! Sealing and opening need the same memory whatever the size of what is sealed.

use std::{fs::File, time::Duration};

use keyward_tests::{Noise, Sandbox};

const LIMIT: Duration = Duration::from_secs(600);
const SMALL: u64 = 512 << 20;
const LARGE: u64 = 4 << 30;

/// Peak resident memory in KiB of sealing and of opening a folder with this much noise.
fn peaks(sandbox: &Sandbox, size: u64) -> [u64; 2] {
    std::fs::create_dir(sandbox.path("data")).unwrap();
    Noise::new(size).write(&mut File::create(sandbox.path("data/noise")).unwrap(), size).unwrap();
    let timed = |run: keyward_tests::Run| {
        run.limit(LIMIT).go().success().no_stdout();
        String::from_utf8(sandbox.read("peak")).unwrap().trim().parse().unwrap()
    };
    let time = ["-f", "%M", "-o", "peak", "keyward"];
    let sealing = timed(sandbox.run("/usr/bin/time").args(time).args(["seal", "data", "-o", "data.age"]));
    std::fs::remove_dir_all(sandbox.path("data")).unwrap();
    let run = sandbox.emulator().token("alice.token").run("/usr/bin/time");
    let opening = timed(run.args(time).args(["open", "data.age", "-C", "out"]));
    let size_now = std::fs::metadata(sandbox.path("out/data/noise")).unwrap().len();
    assert_eq!(size_now, size);
    std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    std::fs::remove_file(sandbox.path("data.age")).unwrap();
    [sealing, opening]
}

#[test]
fn peak_memory_does_not_grow_with_the_input() {
    let sandbox = Sandbox::with_vault("hybrid");
    let small = peaks(&sandbox, SMALL);
    let large = peaks(&sandbox, LARGE);
    for (step, (small, large)) in ["sealing", "opening"].iter().zip(small.into_iter().zip(large)) {
        assert!(large * 10 <= small * 11, "{step}: {small} KiB for 0.5 GiB, {large} KiB for 4 GiB");
        assert!(small * 10 <= large * 11, "{step}: {small} KiB for 0.5 GiB, {large} KiB for 4 GiB");
        assert!(large < 512 << 10, "{step} takes {large} KiB");
    }
}
