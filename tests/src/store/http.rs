//! As much of HTTP/1.1 (RFC 9112) as a store's clients and servers speak on loopback.

use std::io::{self, BufRead, Read, Write};

/// A request or the answer to one.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The request line or the status line.
    pub line: String,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
    /// As it is on the wire.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message; `None` at the end of the connection.
    pub fn read(from: &mut impl BufRead, is_answer_to: Option<&str>) -> io::Result<Option<Self>> {
        let mut message = Self::default();
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        message.line = line.trim_end().to_owned();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = message.header("content-length").and_then(|length| length.parse::<u64>().ok());
        match (length, is_answer_to) {
            (_, Some("HEAD")) => {}
            (Some(length), _) => {
                if message.header("expect").is_some() {
                    // Our clients do not wait for leave.
                    return Err(io::ErrorKind::Unsupported.into());
                }
                from.take(length).read_to_end(&mut message.body)?;
            }
            (None, None) => {}
            // The server closes after its answer.
            (None, Some(_)) => drop(from.read_to_end(&mut message.body)?),
        }
        Ok(Some(message))
    }

    /// An answer.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let reason = match status {
            200 => "OK",
            204 => "No Content",
            206 => "Partial Content",
            404 => "Not Found",
            412 => "Precondition Failed",
            416 => "Range Not Satisfiable",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Answer",
        };
        let headers = vec![("content-length".into(), body.len().to_string())];
        Self { line: format!("HTTP/1.1 {status} {reason}"), headers, body }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Replaces a header.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// Path and query as they were sent.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of an answer, or 0.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// A parameter of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target().split_once('?')?;
        query.split('&').find_map(|pair| {
            let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
            (found == name).then(|| decoded(value))
        })
    }

    /// All before the body, as it is on the wire.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Sends it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head())?;
        to.write_all(&self.body)?;
        to.flush()
    }
}

/// Undoes percent-encoding.
pub(super) fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair: Vec<u8> = bytes.by_ref().take(2).collect();
            let pair = std::str::from_utf8(&pair).unwrap();
            out.push(u8::from_str_radix(pair, 16).expect("two hexadecimal digits"));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).expect("a name in UTF-8")
}
