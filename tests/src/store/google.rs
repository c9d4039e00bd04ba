//! A Google Cloud Storage of our own: as much of its XML API as an archive needs, written from
//! <https://cloud.google.com/storage/docs/xml-api/reference-methods>. No server of Google's can be
//! had for tests, so what is shown with this one is our client's side, and the docs say so.
//!
//! Every request is carried out under one lock, as one step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::http::{Message, decoded};
use super::proxy::serve;

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    generation: u64,
    digest: String,
    meta: Vec<(String, String)>,
}

impl Object {
    fn e_tag(&self) -> String {
        format!("\"{}-{}\"", self.generation, self.digest)
    }
}

struct Upload {
    key: String,
    meta: Vec<(String, String)>,
    parts: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    counter: u64,
}

/// The server, for as long as the tests run.
#[derive(Clone)]
pub(super) struct Google {
    state: Arc<Mutex<State>>,
    address: String,
}

impl Google {
    /// Starts it, with one bucket of any name.
    pub(super) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let address = serve(move |request| Some(shared.lock().unwrap().answer(request)));
        Self { state, address }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Objects by name, and uploads under way by their parts.
    pub(super) fn everything(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let uploads =
            state.uploads.values().map(|upload| format!("{} parts of {}", upload.parts.len(), upload.key));
        state.objects.keys().cloned().chain(uploads).collect()
    }
}

impl State {
    fn answer(&mut self, request: &Message) -> Message {
        let path = decoded(request.target().split('?').next().unwrap().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let full = format!("{bucket}/{key}");
        match (request.method(), request.query("uploadId"), key) {
            ("GET", None, "") => self.list(bucket, &request.query("prefix").unwrap_or_default()),
            ("POST", None, _) if request.query("uploads").is_some() => {
                self.counter += 1;
                let id = format!("upload-{}", self.counter);
                let upload = Upload { key: full, meta: meta(request), parts: BTreeMap::new() };
                self.uploads.insert(id.clone(), upload);
                xml(format!(
                    "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            ("PUT", Some(id), _) => {
                let number: u64 = request.query("partNumber").unwrap().parse().unwrap();
                let Some(upload) = self.uploads.get_mut(&id) else { return error(404, "NoSuchUpload") };
                upload.parts.insert(number, request.body.clone());
                Message::answer(200, "").with("etag", format!("\"{}\"", short(&request.body)))
            }
            ("POST", Some(id), _) => self.complete(&id, &String::from_utf8_lossy(&request.body)),
            ("DELETE", Some(id), _) => match self.uploads.remove(&id) {
                Some(_) => Message::answer(204, ""),
                None => error(404, "NoSuchUpload"),
            },
            ("PUT", None, _) => self.put(&full, request),
            ("DELETE", None, _) => match self.objects.remove(&full) {
                Some(_) => Message::answer(204, ""),
                None => error(404, "NoSuchKey"),
            },
            ("GET" | "HEAD", None, _) => self.get(&full, request),
            _ => error(400, "InvalidArgument"),
        }
    }

    fn put(&mut self, key: &str, request: &Message) -> Message {
        if request.header("x-goog-if-generation-match") == Some("0") && self.objects.contains_key(key) {
            return error(412, "PreconditionFailed");
        }
        let (bytes, meta) = match request.header("x-goog-copy-source") {
            Some(source) => match self.objects.get(decoded(source).trim_start_matches('/')) {
                Some(object) => (object.bytes.clone(), object.meta.clone()),
                None => return error(404, "NoSuchKey"),
            },
            None => (request.body.clone(), meta(request)),
        };
        self.store(key, bytes, meta)
    }

    fn store(&mut self, key: &str, bytes: Vec<u8>, meta: Vec<(String, String)>) -> Message {
        self.counter += 1;
        let object = Object { digest: short(&bytes), bytes, generation: self.counter, meta };
        let answer = xml("<CopyObjectResult/>".into())
            .with("etag", object.e_tag())
            .with("x-goog-generation", object.generation.to_string());
        self.objects.insert(key.to_owned(), object);
        answer
    }

    fn complete(&mut self, id: &str, body: &str) -> Message {
        let Some(upload) = self.uploads.get(id) else { return error(404, "NoSuchUpload") };
        let named: Vec<&str> =
            body.split("<ETag>").skip(1).map(|rest| rest.split("</ETag>").next().unwrap()).collect();
        let mut whole = Vec::new();
        let count = named.len();
        for (index, tag) in named.into_iter().enumerate() {
            let Some(part) = upload.parts.get(&(index as u64 + 1)) else { return error(400, "InvalidPart") };
            if tag.trim_matches('"') != short(part) || (index + 1 < count && part.len() < 5 << 20) {
                return error(400, "InvalidPart");
            }
            whole.extend_from_slice(part);
        }
        let upload = self.uploads.remove(id).unwrap();
        let stored = self.store(&upload.key, whole, upload.meta);
        let tag = stored.header("etag").unwrap().replace('"', "&quot;");
        xml(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
            .with("x-goog-generation", self.counter.to_string())
    }

    fn get(&self, key: &str, request: &Message) -> Message {
        let Some(object) = self.objects.get(key) else { return error(404, "NoSuchKey") };
        if request.header("if-match").is_some_and(|tag| tag != object.e_tag()) {
            return error(412, "PreconditionFailed");
        }
        let length = object.bytes.len();
        let mut answer = match request.header("range").and_then(|range| range.strip_prefix("bytes=")) {
            Some(range) => {
                let (from, to) = range.split_once('-').unwrap();
                let from: usize = from.parse().unwrap();
                let to = to.parse().map_or(length, |to: usize| (to + 1).min(length));
                if from >= length {
                    return error(416, "InvalidRange");
                }
                Message::answer(206, &object.bytes[from..to])
                    .with("content-range", format!("bytes {from}-{}/{length}", to - 1))
            }
            None => Message::answer(200, object.bytes.clone()),
        };
        for (name, value) in &object.meta {
            answer = answer.with(name, value);
        }
        if request.method() == "HEAD" {
            answer.body.clear();
        }
        answer
            .with("etag", object.e_tag())
            .with("x-goog-generation", object.generation.to_string())
            .with("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT")
    }

    fn list(&self, bucket: &str, prefix: &str) -> Message {
        let mut body = format!("<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>");
        let from = format!("{bucket}/{prefix}");
        for (key, object) in self.objects.range(from.clone()..).take_while(|(key, _)| key.starts_with(&from))
        {
            let key = &key[bucket.len() + 1..];
            let size = object.bytes.len();
            write!(body, "<Contents><Key>{key}</Key><LastModified>2026-11-24T12:00:00.000Z</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>").unwrap();
        }
        xml(body + "</ListBucketResult>")
    }
}

fn meta(request: &Message) -> Vec<(String, String)> {
    request.headers.iter().filter(|(name, _)| name.starts_with("x-goog-meta-")).cloned().collect()
}

fn xml(body: String) -> Message {
    Message::answer(200, format!("<?xml version='1.0' encoding='UTF-8'?>{body}"))
}

fn error(status: u16, code: &str) -> Message {
    Message::answer(status, format!("<Error><Code>{code}</Code><Message>{code}.</Message></Error>"))
}

fn short(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
