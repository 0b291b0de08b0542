//! A web server on 127.0.0.1 for the tests, which can be told to misbehave.

// Tests of other crates use it too, each what it needs.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first byte of a `Range` header; 0 without one.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range").map_or("bytes=0-", String::as_str);
        range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap()
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Send only this much of the body, then …
    pub stop_after: Option<usize>,
    /// … wait this long before closing.
    pub stall: Duration,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            stop_after: None,
            stall: Duration::ZERO,
        }
    }

    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Answer {
            body: body.into(),
            ..Answer::status(200)
        }
    }

    /// `whole` from the byte that was asked for, as a server with ranges sends it.
    pub fn ranged(whole: &[u8], request: &Request) -> Self {
        let from = request.from();
        if from == 0 {
            return Answer::body(whole).header("ETag", "\"v1\"");
        }
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        let answer = Answer {
            status: 206,
            ..Answer::body(&whole[from..])
        };
        answer.header("Content-Range", range).header("ETag", "\"v1\"")
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.stop_after = Some(bytes);
        self
    }

    pub fn stall(mut self, wait: Duration) -> Self {
        self.stall = wait;
        self
    }
}

type Handler = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// Serves until the process ends.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `handler` gets each request and how many came before it.
    pub fn start(handler: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), requests.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (handler, seen) = (handler.clone(), seen.clone());
                // A client that hangs up early is part of the tests.
                thread::spawn(move || drop(serve(connection, &*handler, &seen)));
            }
        });
        Server { address, requests }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut connection: TcpStream, handler: &Handler, seen: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request {
        method,
        path,
        headers,
        body,
    };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let answer = handler(&request, before);
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    connection.write_all(head.as_bytes())?;
    connection.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        let most = answer
            .stop_after
            .unwrap_or(answer.body.len())
            .min(answer.body.len());
        connection.write_all(&answer.body[..most])?;
        connection.flush()?;
        thread::sleep(answer.stall);
    }
    Ok(())
}
