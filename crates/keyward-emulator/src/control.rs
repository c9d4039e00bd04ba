//! The control socket: the hand that plugs, unplugs, touches and breaks.
//!
//! One request a connection, one line; TOKEN is a reader's name or a serial:
//!
//! ```text
//! status                        a line of JSON a token
//! remove|insert|reset TOKEN     pull out, plug in, reset the card
//! touch [auto|deny|ask|manual|delay=MS]   what happens from now on; alone: touch what waits
//! touch TOKEN · deny [TOKEN]    touch what waits, or let it time out
//! fault TOKEN KIND[@N]          arm a fault; `clear` disarms all
//! release TOKEN                 let an answer go that is held back
//! occupy|vacate TOKEN           somebody else holds the reader exclusively, or no longer
//! wait-touch TOKEN · wait-apdus TOKEN N   until then, at most 30 seconds
//! ```
//!
//! The answer is `ok` or `error: …` on its first line, followed by what was asked for.

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
    readers::{Readers, TokenStatus},
};

/// A request comes at once and in a short line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_LENGTH: u64 = 4096;
/// How long `wait-…` waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const KNOWN: &str = "the control socket knows: status, remove|insert|reset|release|occupy|vacate TOKEN, \
     touch [auto|deny|ask|manual|delay=MS|TOKEN], deny [TOKEN], fault TOKEN KIND[@N]|clear, wait-touch TOKEN, \
     wait-apdus TOKEN N";

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
    let unknown = || Error::Control(KNOWN.to_owned());
    let (verb, argument) = request.split_once(' ').unwrap_or((request, ""));
    // A reader's name has spaces, what follows it has none.
    let pair = || argument.trim().rsplit_once(' ').ok_or_else(unknown);
    match (verb, argument.trim()) {
        ("status", "") => return Ok(readers.tokens().iter().map(status).collect()),
        ("remove", token) if !token.is_empty() => readers.remove(token)?,
        ("insert", token) if !token.is_empty() => readers.insert(token)?,
        ("reset", token) if !token.is_empty() => readers.reset_token(token)?,
        ("release", token) if !token.is_empty() => readers.release_answer(token)?,
        ("occupy", token) if !token.is_empty() => readers.occupy(token, true)?,
        ("vacate", token) if !token.is_empty() => readers.occupy(token, false)?,
        ("touch" | "deny", "") => readers.decide(None, verb == "touch")?,
        ("touch", mode) if mode.parse::<Touch>().is_ok() => readers.set_touch(mode.parse()?),
        ("touch" | "deny", token) => readers.decide(Some(token), verb == "touch")?,
        ("fault", _) => match pair()? {
            (token, "clear") => readers.disarm(token)?,
            (token, fault) => readers.arm(token, fault.parse()?)?,
        },
        ("wait-touch", token) if !token.is_empty() => {
            if !readers.wait_until_asked(token, LONGEST_WAIT)? {
                return Err(Error::Control("the token did not ask for a touch within 30 seconds".to_owned()));
            }
        }
        ("wait-apdus", _) => {
            let (token, count) = pair()?;
            let count = count.parse().map_err(|_| unknown())?;
            if !readers.wait_for_apdus(token, count, LONGEST_WAIT)? {
                return Err(Error::Control("the APDUs did not come within 30 seconds".to_owned()));
            }
        }
        _ => return Err(unknown()),
    }
    Ok(String::new())
}

fn status(token: &TokenStatus) -> String {
    let json = serde_json::json!({
        "reader": token.reader,
        "serial": token.serial,
        "firmware": token.firmware.to_string(),
        "inserted": token.inserted,
        "connections": token.connections,
        "touch": token.touch.to_string(),
        "waiting": token.waiting,
        "apdus": token.apdus,
        "faults": token.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    format!("{json}\n")
}

/// Sends one request to a control socket and gives back what follows `ok`.
///
/// # Errors
/// [`Error::Control`] with the server's words if it refused, [`Error::Io`] if nobody answers.
pub fn send(socket: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).map_err(Error::io(socket))?;
    stream.set_read_timeout(Some(LONGEST_WAIT + REQUEST_TIMEOUT)).map_err(Error::io(socket))?;
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
