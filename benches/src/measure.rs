//! One run of a command, and what it took: processor time of all its processes, time on the wall,
//! and the memory of the largest of them.
//!
//! The kernel keeps these per process for all its children together (getrusage(2),
//! `RUSAGE_CHILDREN`). So each command is the only child of a process of ours that is made for it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// What a run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    /// Seconds of processor time, in user and system mode.
    pub(crate) cpu: f64,
    /// Of these, in system mode.
    pub(crate) system: f64,
    /// Seconds on the wall.
    pub(crate) wall: f64,
    /// Most memory that one of the processes had, in MiB.
    pub(crate) memory: f64,
}

/// Runs a script in `folder` by way of [`child`].
pub(crate) fn script(script: &str, folder: &Path) -> Result<Taken> {
    let report = folder.join("taken");
    let status = Command::new(std::env::current_exe()?)
        .arg("measure")
        .arg(&report)
        .arg(script)
        .current_dir(folder)
        .status()?;
    ensure!(status.success(), "this failed: {script}");
    let text = fs::read_to_string(&report)?;
    fs::remove_file(&report)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || -> Result<f64> { Ok(numbers.next().context("a number is missing")??) };
    Ok(Taken { cpu: next()?, system: next()?, wall: next()?, memory: next()? })
}

/// Runs a script that is not measured.
pub(crate) fn aside(script: &str, folder: &Path) -> Result<()> {
    let status =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(folder).status()?;
    ensure!(status.success(), "this failed: {script}");
    Ok(())
}

/// The process between: runs the script and writes down what its processes took.
pub(crate) fn child(arguments: &[OsString]) -> Result<()> {
    let [report, script] = arguments else { anyhow::bail!("measure REPORT SCRIPT") };
    let begin = Instant::now();
    let status = Command::new("bash").args(["-euo", "pipefail", "-c"]).arg(script).status()?;
    let wall = begin.elapsed().as_secs_f64();
    ensure!(status.success(), "it ended with {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let system = seconds(usage.system_time());
    let cpu = seconds(usage.user_time()) + system;
    // Linux counts in KiB.
    let memory = usage.max_rss() as f64 / 1024.0;
    fs::write(report, format!("{cpu} {system} {wall} {memory}"))?;
    Ok(())
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
