//! A proxy between a client and a store: it counts requests, and does to some of them what networks
//! and stores do on bad days.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::http::Message;

/// What happens to a request.
pub enum Fault {
    /// Nothing.
    Pass,
    /// The store does not see it; this is the answer.
    Answer(Message),
    /// The connection closes before the store sees it.
    Drop,
    /// The store carries it out, and the connection closes before the answer.
    Swallow,
    /// The answer breaks off after so many bytes of its body.
    Cut(usize),
    /// The answer is changed.
    Change(Box<dyn FnOnce(&mut Message) + Send>),
}

type Plan = Box<dyn FnMut(&Message) -> Fault + Send>;

/// A request that was seen: method, target, and the range that it asks for.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`, `PUT` and the like.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The range, of whichever header asks for it.
    pub range: Option<String>,
}

/// The proxy, for as long as the tests run.
#[derive(Clone)]
pub struct Proxy {
    address: String,
    plan: Arc<Mutex<Plan>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    gate: Option<Arc<Mutex<()>>>,
}

impl Proxy {
    /// The same for a server that looks and then writes: what has a condition passes one at a time.
    /// Where the client sets none, this changes nothing.
    pub(super) fn one_at_a_time(upstream: &str) -> Self {
        Self::before(upstream, Some(Arc::default()))
    }

    /// Starts a proxy before the server at `upstream`, `HOST:PORT`.
    pub fn start(upstream: &str) -> Self {
        Self::before(upstream, None)
    }

    fn before(upstream: &str, gate: Option<Arc<Mutex<()>>>) -> Self {
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(|_| Fault::Pass)));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, plan, seen, gate };
        let (shared, upstream) = (proxy.clone(), upstream.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (proxy, upstream) = (shared.clone(), upstream.clone());
                // A connection that breaks is the client's to mend.
                thread::spawn(move || proxy.connection(client, &upstream));
            }
        });
        proxy
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Decides on requests from now on, and forgets those that were seen.
    pub fn plan(&self, plan: impl FnMut(&Message) -> Fault + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
        self.seen.lock().unwrap().clear();
    }

    /// All requests since the last plan.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn connection(&self, client: TcpStream, upstream: &str) -> Option<()> {
        client.set_nodelay(true).ok()?;
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut client = client;
        while let Ok(Some(mut request)) = Message::read(&mut reader, None) {
            self.seen.lock().unwrap().push(Seen {
                method: request.method().to_owned(),
                target: request.target().to_owned(),
                range: request.header("range").or(request.header("x-ms-range")).map(str::to_owned),
            });
            let fault = (self.plan.lock().unwrap())(&request);
            let method = request.method().to_owned();
            match fault {
                Fault::Drop => return None,
                Fault::Answer(answer) => {
                    answer.write(&mut client).ok()?;
                    continue;
                }
                _ => {}
            }
            let conditional = request.header("if-none-match").is_some();
            let gate = self.gate.as_ref().filter(|_| conditional).map(|gate| gate.lock().unwrap());
            request.set("connection", "close");
            let mut server = TcpStream::connect(upstream).ok()?;
            request.write(&mut server).ok()?;
            let mut answer = Message::read(&mut BufReader::new(server), Some(&method)).ok()??;
            drop(gate);
            answer.headers.retain(|(name, _)| name != "connection");
            match fault {
                Fault::Swallow => return None,
                Fault::Cut(after) => {
                    client.write_all(&answer.head()).ok()?;
                    client.write_all(answer.body.get(..after).unwrap_or(&answer.body)).ok()?;
                    return None;
                }
                Fault::Change(change) => change(&mut answer),
                _ => {}
            }
            let framed = method == "HEAD"
                || answer.header("content-length").is_some()
                || answer.header("transfer-encoding").is_some()
                || answer.status() == 204;
            answer.write(&mut client).ok()?;
            if !framed {
                return None;
            }
        }
        Some(())
    }
}

/// Serves requests on a port of its own; returns `HOST:PORT`. `None` closes the connection.
pub(super) fn serve(answer: impl Fn(&Message) -> Option<Message> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                client.set_nodelay(true).ok()?;
                let mut reader = BufReader::new(client.try_clone().ok()?);
                let mut client = client;
                while let Ok(Some(request)) = Message::read(&mut reader, None) {
                    answer(&request)?.write(&mut client).ok()?;
                }
                Some(())
            });
        }
    });
    address
}
