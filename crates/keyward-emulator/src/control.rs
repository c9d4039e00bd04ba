//! The control socket: the hand that plugs, unplugs and touches.
//!
//! One request a connection, one line: `status`, `remove READER|SERIAL`, `insert READER|SERIAL`,
//! `touch auto|deny`. The answer is `ok` or `error: …` on its first line; `status` adds a line of JSON a token.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use crate::{
    Error, Result, Touch,
    listener::{Handler, Listener},
    readers::Readers,
};

/// A request comes at once and in a short line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_LENGTH: u64 = 4096;

/// Listens for requests.
pub(crate) fn listen(path: &Path, readers: Arc<Readers>) -> Result<Listener> {
    let handler: Handler = Box::new(move |stream| {
        // Who asks and goes away before the answer gets none.
        let _ = serve(&stream, &readers);
    });
    Listener::start(path, handler)
}

fn serve(mut stream: &UnixStream, readers: &Readers) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_LENGTH)).read_line(&mut line)?;
    let answer = match run(line.trim(), readers) {
        Ok(body) => format!("ok\n{body}"),
        Err(error) => format!("error: {error}\n"),
    };
    stream.write_all(answer.as_bytes())
}

fn run(request: &str, readers: &Readers) -> Result<String> {
    let (verb, argument) = request.split_once(' ').unwrap_or((request, ""));
    match (verb, argument.trim()) {
        ("status", "") => return Ok(status(readers)),
        ("remove", token) if !token.is_empty() => readers.remove(token)?,
        ("insert", token) if !token.is_empty() => readers.insert(token)?,
        ("touch", "auto") => readers.set_touch(Touch::Auto),
        ("touch", "deny") => readers.set_touch(Touch::Deny),
        _ => {
            let known = "status, remove READER|SERIAL, insert READER|SERIAL, touch auto|deny";
            return Err(Error::Control(format!("the control socket knows: {known}")));
        }
    }
    Ok(String::new())
}

fn status(readers: &Readers) -> String {
    let (touch, tokens) = readers.tokens();
    let touch = match touch {
        Touch::Auto => "auto",
        Touch::Deny => "deny",
    };
    let line = |token: &crate::readers::TokenStatus| {
        let json = serde_json::json!({
            "reader": token.reader,
            "serial": token.serial,
            "firmware": token.firmware.to_string(),
            "inserted": token.inserted,
            "connections": token.connections,
            "touch": touch,
        });
        format!("{json}\n")
    };
    tokens.iter().map(line).collect()
}

/// Sends one request to a control socket and gives back what follows `ok`.
///
/// # Errors
/// [`Error::Control`] with the server's words if it refused, [`Error::Io`] if nobody answers.
pub fn send(socket: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).map_err(Error::io(socket))?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).map_err(Error::io(socket))?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(Error::io(socket))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(Error::io(socket))?;
    match answer.split_once('\n') {
        Some(("ok", body)) => Ok(body.to_owned()),
        Some((refused, _)) => {
            let reason = refused.strip_prefix("error: ").unwrap_or(refused);
            Err(Error::Control(reason.escape_debug().to_string()))
        }
        None => Err(Error::Control("the control socket closed without an answer".to_owned())),
    }
}
