//! Slow clients, many clients, and clients that use another host name.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use smollm3_serve::Limits;
use support::{Served, random, received, served_with};

fn connected(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Whether the server closes the connection; it may say why before.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let served = served_with(
        random(),
        Limits {
            sending: Duration::from_millis(400),
            ..Limits::default()
        },
    );
    let began = Instant::now();
    let mut silent = connected(&served);
    let mut slow = connected(&served);
    let mut drips = slow.try_clone().unwrap();
    let sends = thread::spawn(move || {
        drips
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
            .unwrap();
        // A little at a time, for far longer than is allowed.
        (0..200)
            .take_while(|_| {
                thread::sleep(Duration::from_millis(50));
                drips.write_all(b"x").is_ok()
            })
            .count()
    });
    assert!(is_closed(&mut silent) && is_closed(&mut slow));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(sends.join().unwrap() < 200);
    // A connection that is kept open is idle for as long at most.
    let mut kept = connected(&served);
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(is_closed(&mut kept));
    assert_eq!(served.ask("GET", "/health", "", b"").0, 200);
}

#[test]
fn a_body_that_never_comes_is_cut_off() {
    let served = served_with(
        random(),
        Limits {
            sending: Duration::from_millis(400),
            ..Limits::default()
        },
    );
    let mut slow = connected(&served);
    slow.write_all(
        b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    let (status, _, answer) = received(slow);
    assert_eq!(status, 408, "{answer}");
}

#[test]
fn connections_beyond_the_bound_wait_for_others_to_end() {
    let served = served_with(
        random(),
        Limits {
            connections: 2,
            ..Limits::default()
        },
    );
    let (first, second) = (connected(&served), connected(&served));
    // Both are accepted before the third is.
    thread::sleep(Duration::from_millis(100));
    let mut third = served.send("GET", "/health", "", b"");
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waits = third.read(&mut [0; 1]).unwrap_err();
    assert!(
        matches!(waits.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{waits}"
    );
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(received(third).0, 200);
    drop(second);
}

#[test]
fn a_page_that_lends_its_name_to_this_machine_is_refused() {
    let served = served_with(random(), Limits::default());
    let port = served.address.port();
    let ask = |target: &str, hosts: &[&str]| {
        let mut stream = connected(&served);
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        write!(
            stream,
            "GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"
        )
        .unwrap();
        received(stream)
    };
    for path in ["/v1/models", "/health", "/v1/completions", "/nowhere"] {
        let (status, _, answer) = ask(path, &["evil.example"]);
        assert_eq!(status, 403, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(
            said.contains("evil.example") && said.contains("--allow-host"),
            "{said}"
        );
    }
    for host in [
        format!("evil.example:{port}"),
        "127.0.0.1.evil.example".to_owned(),
        format!("192.0.2.7:{port}"),
        String::new(),
    ] {
        assert_eq!(ask("/v1/models", &[&host]).0, 403, "{host}");
    }
    assert_ne!(ask("/v1/models", &["localhost", "evil.example"]).0, 200);
    assert_eq!(ask("http://evil.example/v1/models", &["localhost"]).0, 403);
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "LocalHost".to_owned(),
        "box.lan:80".to_owned(),
    ] {
        assert_eq!(ask("/v1/models", &[&host]).0, 200, "{host}");
    }
}
