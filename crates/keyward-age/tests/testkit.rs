//! The age test vectors of C2SP/CCTV, all of them: header and both payload readers meet the outcome
//! that each names. Their origin is in `tests/vectors/age/README.md`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use keyward_age::age::scrypt;
use keyward_age::{Error, FileKey, Header, NONCE_LEN, OpenAt, OpenReader, SoftIdentity, dearmor};

/// One file of the folder.
struct Vector {
    name: String,
    expect: String,
    /// SHA-256 of all plaintext that may be released, in hex.
    payload: Option<String>,
    identities: Vec<SoftIdentity>,
    passphrases: Vec<String>,
    armored: bool,
    file: Vec<u8>,
}

impl Vector {
    fn parse(name: &str, data: &[u8]) -> Vector {
        let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let mut vector = Vector {
            name: name.to_owned(),
            expect: String::new(),
            payload: None,
            identities: Vec::new(),
            passphrases: Vec::new(),
            armored: false,
            file: data[end + 2..].to_vec(),
        };
        for line in std::str::from_utf8(&data[..end]).unwrap().lines() {
            let (field, value) = line.split_once(": ").unwrap();
            match field {
                "expect" => vector.expect = value.to_owned(),
                "payload" => vector.payload = Some(value.to_owned()),
                "identity" => vector.identities.push(value.parse().unwrap()),
                "passphrase" => vector.passphrases.push(value.to_owned()),
                "armored" => vector.armored = value == "yes",
                "compressed" => {
                    assert_eq!(value, "zlib", "{name}");
                    let mut inflated = Vec::new();
                    flate2::read::ZlibDecoder::new(&*vector.file).read_to_end(&mut inflated).unwrap();
                    vector.file = inflated;
                }
                "file key" | "comment" => {}
                other => panic!("{name}: field {other} is not known"),
            }
        }
        vector
    }

    /// The file key by the first identity that the file is for.
    fn unwrap(&self, header: &Header) -> Result<FileKey, Error> {
        let soft = self.identities.iter().map(|identity| header.unwrap_soft(identity));
        let passphrases = self.passphrases.iter().map(|passphrase| {
            let mut identity = scrypt::Identity::new(passphrase.clone().into());
            identity.set_max_work_factor(16);
            header.unwrap_identity(&identity)
        });
        soft.chain(passphrases)
            .find(|result| !matches!(result, Err(Error::NoMatch)))
            .unwrap_or(Err(Error::NoMatch))
    }

    /// The class of the outcome, in the testkit's words, with what was released.
    fn open(&self, open_payload: impl Fn(&[u8], usize, &FileKey) -> Opened) -> (&'static str, Vec<u8>) {
        let mut binary = Vec::new();
        let file = if self.armored {
            let read = dearmor(&*self.file)
                .map_err(io::Error::from)
                .and_then(|mut reader| reader.read_to_end(&mut binary));
            if read.is_err() {
                return ("armor failure", Vec::new());
            }
            &binary
        } else {
            &self.file
        };
        let mut rest = file.as_slice();
        let header = match Header::read(&mut rest) {
            Ok(header) => header,
            // What does not even begin like armor is passed on as it is.
            Err(Error::NotAge) if self.armored && binary == self.file => {
                return ("armor failure", Vec::new());
            }
            Err(Error::NotAge | Error::Header(_)) => return ("header failure", Vec::new()),
            Err(other) => panic!("{}: {other}", self.name),
        };
        assert_eq!(header.len() + rest.len(), file.len(), "{}: exactly the header is read", self.name);
        let file_key = match self.unwrap(&header) {
            Ok(file_key) => file_key,
            Err(Error::NoMatch) => return ("no match", Vec::new()),
            Err(Error::HeaderMac) => return ("HMAC failure", Vec::new()),
            Err(Error::Header(_) | Error::ExcessiveWork { .. }) => return ("header failure", Vec::new()),
            Err(other) => panic!("{}: {other}", self.name),
        };
        let opened = open_payload(file, header.len(), &file_key);
        let class = match opened.error {
            None => "success",
            // The testkit counts the payload's nonce as part of the header.
            Some(Error::Truncated) if rest.len() < NONCE_LEN => "header failure",
            Some(Error::Chunk { .. } | Error::Truncated | Error::Trailing | Error::EmptyLastChunk) => {
                "payload failure"
            }
            Some(other) => panic!("{}: {other}", self.name),
        };
        (class, opened.released)
    }

    fn assert_payload(&self, released: &[u8]) {
        if let Some(expected) = &self.payload {
            let hash: String =
                digest(&SHA256, released).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&hash, expected, "{}: what was released", self.name);
        }
    }
}

struct Opened {
    released: Vec<u8>,
    error: Option<Error>,
}

impl Opened {
    fn read(reader: Result<impl Read, Error>) -> Opened {
        let mut released = Vec::new();
        let result = reader.map_err(io::Error::from).and_then(|mut reader| reader.read_to_end(&mut released));
        Opened { released, error: result.err().map(Error::from_io) }
    }
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/age/testkit");
    let mut vectors: Vec<Vector> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            Vector::parse(path.file_name().unwrap().to_str().unwrap(), &fs::read(&path).unwrap())
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(vectors.len(), 143, "the vectors in the folder");
    vectors
}

#[test]
fn every_vector_has_its_outcome_front_to_back() {
    let mut wrong = Vec::new();
    for vector in vectors() {
        for threads in [1, 3] {
            let (class, released) = vector.open(|file, header_len, file_key| {
                Opened::read(OpenReader::new(&file[header_len..], file_key, threads))
            });
            if class != vector.expect {
                wrong.push(format!("{}: {class} instead of {}", vector.name, vector.expect));
            }
            vector.assert_payload(&released);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_vector_has_its_outcome_at_random_access() {
    let mut wrong = Vec::new();
    for vector in vectors() {
        let (class, released) = vector.open(|file, header_len, file_key| {
            let opened = Opened::read(OpenAt::new(file, header_len, file_key));
            // The last chunk goes first, so it never releases more than the other reader.
            let whole = Opened::read(OpenReader::new(&file[header_len..], file_key, 1));
            assert!(whole.released.starts_with(&opened.released));
            assert!(file.len() >= header_len + NONCE_LEN || opened.error.is_some());
            opened
        });
        if class != vector.expect {
            wrong.push(format!("{}: {class} instead of {}", vector.name, vector.expect));
        }
        if class == "success" {
            vector.assert_payload(&released);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
