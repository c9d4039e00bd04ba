//! The binary as a shell sees it: exit codes, signals, environment, files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests may panic as tests do

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

fn emulator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward-emulator"));
    command.env_remove("KEYWARD_EMULATOR_CTL").stdin(Stdio::null());
    command
}

fn token(folder: &Path, serial: u32) -> PathBuf {
    let path = folder.join(format!("{serial}.token"));
    let made = emulator().arg("new").arg(&path).args(["--serial", &serial.to_string()]).output().unwrap();
    assert!(made.status.success());
    path
}

/// Runs a shell script with one token plugged in.
fn run(options: &[&str], script: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path(), 7);
    emulator()
        .arg("run")
        .arg("--token")
        .arg(token)
        .args(options)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn new_makes_a_private_file_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let path = token(folder.path(), 7);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = emulator().arg("new").arg(&path).args(["--serial", "8"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again.stdout), "");
    assert_eq!(text(&again.stderr), format!("error: {} exists; nothing was changed.\n", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_firmware_without_a_profile_is_a_usage_error_that_names_those_there_are() {
    let refused = emulator().args(["new", "x", "--serial", "1", "--firmware", "4.4.5"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("there is 4.3.x, 5.2.x, 5.4.x and 5.7.x"));
}

#[test]
fn a_run_without_a_token_names_the_option() {
    let refused = emulator().args(["run", "--", "true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--token <FILE>"));
}

#[test]
fn the_commands_exit_code_and_output_pass_through() {
    let output = run(&[], "echo out; echo err >&2; exit 42");
    assert_eq!(output.status.code(), Some(42));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n", "err\n"));
    assert_eq!(run(&[], "true").status.code(), Some(0));
    assert_eq!(run(&[], "kill -KILL $$").status.code(), Some(137));
}

#[test]
fn a_command_that_cannot_start_is_said_and_coded_as_shells_do() {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path(), 7);
    for (program, code) in [("/nonexistent/program", 127), ("/dev/null", 126)] {
        let output = emulator().arg("run").arg("--token").arg(&token).args(["--", program]).output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).starts_with(&format!("error: {program}: ")), "{}", text(&output.stderr));
    }
}

#[test]
fn the_sockets_are_private_and_gone_afterwards() {
    let output = run(
        &[],
        r#"stat -c %a "$PCSCLITE_CSOCK_NAME" "$(dirname "$PCSCLITE_CSOCK_NAME")"; echo "$KEYWARD_EMULATOR_CTL""#,
    );
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines[..2], ["600", "700"]);
    assert!(!Path::new(lines[2]).parent().unwrap().exists());
}

#[test]
fn ctl_finds_its_socket_and_works_while_a_program_runs() {
    let bin = env!("CARGO_BIN_EXE_keyward-emulator");
    let output = run(
        &["--touch", "deny"],
        &format!(
            "set -e; {bin} ctl status; {bin} ctl remove 7; {bin} ctl touch auto; {bin} ctl status; {bin} ctl remove 7"
        ),
    );
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains(r#""inserted":true"#) && lines[0].contains(r#""touch":"deny""#));
    assert!(lines[1].contains(r#""inserted":false"#) && lines[1].contains(r#""touch":"auto""#));
    assert_eq!(text(&output.stderr), "error: 7 is out already.\n");
    let nowhere = emulator().args(["ctl", "--socket", "/nonexistent", "status"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn a_token_in_use_and_a_file_that_is_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path(), 7);
    let bin = env!("CARGO_BIN_EXE_keyward-emulator");
    let inner = format!("{bin} run --token '{}' -- true", token.display());
    let output =
        emulator().arg("run").arg("--token").arg(&token).args(["--", "sh", "-c", &inner]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is in use by another keyward-emulator"));
    let other = folder.path().join("other");
    std::fs::write(&other, "{}").unwrap();
    let output = emulator().arg("run").arg("--token").arg(&other).args(["--", "true"]).output().unwrap();
    assert!(text(&output.stderr).contains("is no token file"));
}

/// Starts, waits for the first line of output, sends a signal, and gives back the exit code and what else came.
fn signalled(mut command: Command, signal: Signal) -> (Option<i32>, String) {
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert_eq!(first, "ready\n");
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

#[test]
fn signals_reach_the_program_and_its_end_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path(), 7);
    let command = |script: &str| {
        let mut command = emulator();
        command.arg("run").arg("--token").arg(&token).args(["--", "sh", "-c", script]);
        command
    };
    let orderly = "trap 'echo bye; exit 3' TERM INT; echo ready; while :; do :; done";
    assert_eq!(signalled(command(orderly), Signal::TERM), (Some(3), "bye\n".to_owned()));
    assert_eq!(
        signalled(command("echo ready; exec cat /dev/zero >/dev/null"), Signal::TERM).0,
        Some(128 + 15)
    );
    assert_eq!(signalled(command("echo ready; exec cat /dev/zero >/dev/null"), Signal::INT).0, Some(128 + 2));
}

#[test]
fn serve_answers_at_its_socket_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path(), 7);
    let socket = folder.path().join("pcsc");
    let mut child = emulator()
        .arg("serve")
        .arg("--socket")
        .arg(&socket)
        .arg("--token")
        .arg(&token)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        "Yubico YubiKey OTP+FIDO+CCID 00 00: serial 7, firmware 5.7.1"
    );
    assert!(lines.next().unwrap().unwrap().contains("PCSCLITE_CSOCK_NAME="));
    UnixStream::connect(&socket).unwrap();
    let status = emulator()
        .arg("ctl")
        .arg("--socket")
        .arg(folder.path().join("pcsc.ctl"))
        .arg("status")
        .output()
        .unwrap();
    assert!(text(&status.stdout).contains(r#""serial":7"#));
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn touch_and_faults_come_from_flags_and_ctl_and_unknown_ones_are_named() {
    let bin = env!("CARGO_BIN_EXE_keyward-emulator");
    let output = run(
        &["--touch", "manual", "--fault", "reset@9", "--fault", "7:power-in-write=half@3", "--occupied"],
        &format!(
            "set -e; {bin} ctl status; {bin} ctl vacate 7; {bin} ctl fault 7 clear; {bin} ctl fault 7 hold@2; \
             {bin} ctl touch delay=250; {bin} ctl reset 7; {bin} ctl status; {bin} ctl touch"
        ),
    );
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 2, "{}", text(&output.stderr));
    assert!(lines[0].contains(r#""touch":"manual""#), "{}", lines[0]);
    assert!(lines[0].contains(r#""faults":["reset@9","power-in-write=half@3"]"#), "{}", lines[0]);
    assert!(lines[1].contains(r#""touch":"delay=250""#) && lines[1].contains(r#""faults":["hold@2"]"#));
    assert_eq!(text(&output.stderr), "error: no token waits for a touch.\n");

    for (option, value, known) in [
        ("--touch", "maybe", "auto, deny, ask, manual and delay=MILLISECONDS"),
        ("--fault", "explode@1", "power-before"),
        ("--fault", "x:reset", "is no serial"),
    ] {
        let refused = emulator().args(["run", "--token", "x", option, value, "--", "true"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(known), "{}", text(&refused.stderr));
    }
    let refused = run(&["--fault", "8:reset"], "true");
    assert_eq!(text(&refused.stderr), "error: no reader or serial is called 8.\n");
}
