//! Many clients, clients that leave, and shutdown.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smollm3_serve::{Limits, Server, Settings};
use support::{Served, random, received, scripted, served, served_with};

const PATH: &str = "/v1/completions";

/// A model that does not end while the test runs.
fn endless(requests: usize) -> Served {
    served_with(
        scripted(&["a", "b", "a"], &[], "{{ messages[0].content }}"),
        Limits {
            requests,
            ..Limits::default()
        },
    )
}

/// Asks for far too many tokens to wait for.
fn asked(served: &Served, stream: bool) -> TcpStream {
    let request = json!({"prompt": "a", "max_tokens": 190_000, "temperature": 0, "stream": stream});
    served.send("POST", PATH, "application/json", request.to_string().as_bytes())
}

/// Whether a request is refused within a moment.
fn is_sent_away(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).is_ok() && status.ends_with(b" 503")
}

/// Waits until something holds, as it must soon.
#[track_caller]
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_of_many_clients_gets_what_it_gets_alone() {
    let served = served(random());
    let requests: Vec<Value> = (0..12)
        .map(|i| json!({"prompt": format!("Text {i}"), "max_tokens": 8, "temperature": 0.8, "seed": i, "logprobs": 1, "echo": i % 2 == 0}))
        .collect();
    let alone: Vec<Value> = requests
        .iter()
        .map(|request| served.done(PATH, request)["choices"].clone())
        .collect();
    thread::scope(|scope| {
        let asked: Vec<_> = requests
            .iter()
            .map(|request| scope.spawn(|| served.done(PATH, request)["choices"].clone()))
            .collect();
        for (asked, alone) in asked.into_iter().zip(&alone) {
            assert_eq!(asked.join().unwrap(), *alone);
        }
    });
}

#[test]
fn a_client_that_leaves_ends_its_generation() {
    for stream in [true, false] {
        let served = endless(1);
        let small = json!({"prompt": "a", "max_tokens": 1});
        let mut first = asked(&served, stream);
        soon("the only place is not taken", || {
            // The small request may have had it meanwhile.
            if is_sent_away(&first) {
                first = asked(&served, stream);
            }
            served.post(PATH, &small).0 == 503
        });
        let (_, head, answer) = served.ask("POST", PATH, "application/json", small.to_string().as_bytes());
        assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
        assert!(answer.contains("server_error"), "{answer}");
        drop(first);
        soon("the model is still at work", || {
            served.post(PATH, &small).0 == 200
        });
    }
}

#[test]
fn a_client_that_leaves_the_queue_makes_room() {
    let served = endless(2);
    let mut first = asked(&served, true);
    first.read_exact(&mut [0; 12]).unwrap();
    let mut second = asked(&served, false);
    soon("the places are not taken", || {
        // A third request may have had it meanwhile.
        if is_sent_away(&second) {
            second = asked(&served, false);
        }
        is_sent_away(&asked(&served, false))
    });
    drop(second);
    soon("the place is not free", || !is_sent_away(&asked(&served, false)));
    drop(first);
}

#[test]
fn a_client_that_does_not_read_keeps_no_place() {
    let limits = Limits {
        requests: 1,
        ..Limits::default()
    };
    let served = served_with(random(), limits);
    // More than fits between the server and the client.
    let request = json!({"prompt": "a", "max_tokens": 190, "n": 128, "logprobs": 5, "stream": true});
    let mut unread = served.send("POST", PATH, "application/json", request.to_string().as_bytes());
    let mut status = [0; 12];
    unread.read_exact(&mut status).unwrap();
    assert!(status.ends_with(b" 200"));
    let small = json!({"prompt": "a", "max_tokens": 1});
    soon("the place is not free", || served.post(PATH, &small).0 == 200);
}

#[test]
fn a_stopped_server_tells_who_waits() {
    let mut served = endless(2);
    let mut streams = asked(&served, true);
    streams.read_exact(&mut [0; 1000]).unwrap();
    let waits = asked(&served, false);
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    served.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let mut text = String::new();
    streams.read_to_string(&mut text).unwrap();
    assert!(text.contains("stopping") && !text.contains("[DONE]"), "{text}");
    let (status, _, answer) = received(waits);
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("stopping"), "{answer}");
    assert!(TcpStream::connect(served.address).is_err());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let served = served(random());
    let settings = Settings {
        host: "127.0.0.1".to_owned(),
        port: served.address.port(),
        name: "tiny".to_owned(),
        date: smollm3_chat::NaiveDate::from_ymd_opt(2025, 7, 8).unwrap(),
        allowed_hosts: Vec::new(),
        limits: Limits::default(),
    };
    let refused = Server::bind(random(), settings).err().unwrap().to_string();
    assert!(
        refused.contains(&served.address.to_string()) && refused.contains("--port"),
        "{refused}"
    );
}
