//! Keyward and what people use for the same work, in turn, on the same inputs: a table of ratios.
//!
//! `scripts/bench` installs the others and runs this; `docs/benchmarks.md` says what is measured.
//! The rooms: `inputs` makes what is sealed, `peers` knows who does what how, `measure` runs it, `us`
//! is our own side, `table` prints.

#![forbid(unsafe_code)]

mod inputs;
mod measure;
mod peers;
mod table;
mod us;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// A file system in memory (statfs(2), `TMPFS_MAGIC`).
const TMPFS: i64 = 0x0102_1994;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "us" => us::run(rest),
        Some((word, rest)) if word == "measure" => measure::child(rest),
        Some((word, rest)) if word == "peers" => peers::run(&plan(rest)?),
        _ => bail!(
            "usage: keyward-benches peers [--small] [--rounds N] [--folder DIR] [--only file|tree|pick|cold]"
        ),
    }
}

fn plan(arguments: &[std::ffi::OsString]) -> Result<peers::Plan> {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let mut plan = peers::Plan { small: false, rounds: 0, folder, only: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match &*word {
            "--small" => plan.small = true,
            "--rounds" => plan.rounds = value()?.to_string_lossy().parse()?,
            "--folder" => plan.folder = std::path::absolute(value()?)?,
            "--only" => plan.only = Some(value()?.to_string_lossy().into_owned()),
            _ => bail!("there is no option {word}"),
        }
    }
    if plan.rounds == 0 {
        plan.rounds = if plan.small { 1 } else { 5 };
    }
    ensure!(
        plan.only.as_deref().is_none_or(|only| peers::PARTS.contains(&only)),
        "--only file, tree, pick or cold"
    );
    ensure!(
        plan.only.as_deref() != Some("cold") || rustix::fs::statfs(&plan.folder)?.f_type != TMPFS,
        "what lies in memory is never cold: --folder of a disk"
    );
    Ok(plan)
}
