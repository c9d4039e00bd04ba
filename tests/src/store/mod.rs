//! Stores on loopback: moto for S3, Azurite for Azure, our own for Google, each behind a proxy that
//! counts and spoils.

mod google;
mod http;
mod proxy;

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use google::Google;
pub use http::Message;
pub use proxy::{Fault, Proxy, Seen};

use crate::programs::{Peer, peer};

/// A store with one bucket.
pub struct Store {
    /// `s3://bucket`, `az://bucket` or `gs://bucket`.
    pub root: &'static str,
    /// What stands before it.
    pub proxy: Proxy,
    /// What Keyward is told.
    pub variables: Vec<(String, String)>,
    google: Option<Google>,
    _server: Option<Server>,
}

/// A server's process, which ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// moto.
    S3,
    /// Azurite.
    Azure,
    /// A server of our own.
    Google,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::S3, Kind::Azure, Kind::Google];
}

impl Store {
    /// Starts a store of this kind with an empty bucket named `bucket`.
    pub fn start(kind: Kind) -> Self {
        match kind {
            Kind::S3 => Self::s3(),
            Kind::Azure => Self::azure(),
            Kind::Google => Self::google(),
        }
    }

    fn s3() -> Self {
        let address = free_port();
        let (_, port) = address.split_once(':').unwrap();
        let mut command = Command::new(peer(Peer::Moto));
        command.args(["-H", "127.0.0.1", "-p", port]);
        let server = started(command, &address);
        let answer = ask(
            &address,
            "PUT /bucket HTTP/1.1\r\nhost: s3\r\ncontent-length: 0\r\nauthorization: AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/s3/aws4_request\r\n",
        );
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
        // moto looks whether the name is free and then writes, in threads; S3 does both at once.
        let proxy = Proxy::one_at_a_time(&address);
        let variables = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret-of-aws"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_S3", &format!("http://{}", proxy.address())),
        ];
        Self { root: "s3://bucket", variables: owned(&variables), proxy, google: None, _server: Some(server) }
    }

    fn azure() -> Self {
        let address = free_port();
        let (_, port) = address.split_once(':').unwrap();
        let mut command = Command::new(peer(Peer::Node));
        command.arg(peer(Peer::Azurite)).args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            port,
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--silent",
        ]);
        let server = started(command, &address);
        let proxy = Proxy::start(&address);
        let variables = [
            ("AZURE_STORAGE_USE_EMULATOR", "true"),
            ("AZURITE_BLOB_STORAGE_URL", &format!("http://{}", proxy.address())),
        ];
        make_container(&address);
        Self { root: "az://bucket", variables: owned(&variables), proxy, google: None, _server: Some(server) }
    }

    fn google() -> Self {
        let google = Google::start();
        let proxy = Proxy::start(google.address());
        let variables = [("STORAGE_EMULATOR_HOST", proxy.address())];
        Self { root: "gs://bucket", variables: owned(&variables), proxy, google: Some(google), _server: None }
    }

    /// Everything in our own Google, uploads under way too, with their number of parts.
    pub fn google_has(&self) -> Option<Vec<String>> {
        self.google.as_ref().map(Google::everything)
    }

    /// Uploads to S3 that are neither completed nor aborted: the parts that each has.
    pub fn s3_uploads(&self) -> Vec<usize> {
        const SIGNED: &str = "host: s3\r\nauthorization: AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/s3/aws4_request\r\n";
        let get = |target: &str| {
            let answer = ask(self.proxy.address(), &format!("GET {target} HTTP/1.1\r\n{SIGNED}"));
            let body = String::from_utf8(answer.body.clone()).unwrap();
            assert_eq!(answer.status(), 200, "{body}");
            body
        };
        let inner = |text: &str, tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once("</").unwrap().0.to_owned()
        };
        let all = get("/bucket?uploads");
        all.split("<Upload>")
            .skip(1)
            .map(|upload| {
                let (key, id) = (inner(upload, "Key"), inner(upload, "UploadId"));
                get(&format!("/bucket/{key}?uploadId={id}")).matches("<PartNumber>").count()
            })
            .collect()
    }
}

/// A container is made with a signed request, which node's own crypto can make.
fn make_container(address: &str) {
    const SCRIPT: &str = r#"
        const crypto = require("crypto");
        const key = Buffer.from("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==", "base64");
        const date = new Date().toUTCString(), version = "2021-12-02";
        const text = ["PUT", "", "", "", "", "", "", "", "", "", "", "", `x-ms-date:${date}`, `x-ms-version:${version}`,
            "/devstoreaccount1/devstoreaccount1/bucket", "restype:container"].join("\n");
        const signature = crypto.createHmac("sha256", key).update(text).digest("base64");
        fetch(`http://${process.argv[1]}/devstoreaccount1/bucket?restype=container`, { method: "PUT", headers: {
            "x-ms-date": date, "x-ms-version": version, authorization: `SharedKey devstoreaccount1:${signature}` } })
            .then(async (answer) => { if (answer.status !== 201) throw new Error(await answer.text()); });
    "#;
    let made = Command::new(peer(Peer::Node)).args(["-e", SCRIPT, address]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A port that nobody has. Between this look and the server's own somebody may take it; the server
/// then fails to start, and the test says so.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Starts a server and waits until it takes connections.
fn started(mut command: Command, address: &str) -> Server {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = Server(child);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{command:?} does not listen on {address}");
        if let Some(status) = server.0.try_wait().unwrap() {
            panic!("{command:?} ended with {status}");
        }
        std::thread::yield_now();
    }
    server
}

/// One request with these lines, without a body.
fn ask(address: &str, lines: &str) -> Message {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{lines}connection: close\r\n\r\n").unwrap();
    let method = lines.split(' ').next();
    Message::read(&mut BufReader::new(stream), method).unwrap().expect("an answer")
}
