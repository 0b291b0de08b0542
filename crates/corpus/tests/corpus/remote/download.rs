use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smollm3_corpus::remote::RemoteFile;

use super::{client, noise};
use crate::server::{Answer, Request, Server};

/// Lists `a.jsonl` of a server and downloads it; gives the bytes, and what was left on disk.
fn download(server: &Server) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/a.jsonl");
    let client = client(&[]);
    let files = list(server).unwrap();
    let counted = AtomicU64::new(0);
    let done = client.download("web", &files[0], &target, &|bytes| {
        counted.fetch_add(bytes, Ordering::Relaxed);
    });
    match done {
        Ok(()) => {
            let bytes = fs::read(&target).unwrap();
            assert_eq!(counted.into_inner(), bytes.len() as u64);
            assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
            Ok(bytes)
        }
        Err(error) => {
            let left = fs::read_dir(target.parent().unwrap()).unwrap().count();
            assert_eq!(left, 0, "nothing half-written stays");
            Err(error.to_string())
        }
    }
}

fn list(server: &Server) -> Result<Vec<RemoteFile>, String> {
    let address = format!("{}/data/a.jsonl?signature=secret", server.address);
    client(&[])
        .list("web", &[address], &|_| true)
        .map_err(|error| error.to_string())
}

fn gets(server: &Server) -> Vec<Request> {
    server
        .requests()
        .into_iter()
        .filter(|request| request.method == "GET")
        .collect()
}

#[test]
fn a_file_arrives_whole() {
    let body = noise(3_000_000);
    let sent = body.clone();
    let server = Server::start(move |request, _| Answer::ranged(&sent, request));
    let files = list(&server).unwrap();
    assert_eq!(
        files[0].shard.name,
        format!("{}/data/a.jsonl", server.address),
        "the signature is not shown"
    );
    assert_eq!(
        (files[0].shard.bytes, files[0].shard.version.as_str()),
        (3_000_000, "etag \"v1\"")
    );
    assert_eq!(files[0].relative, "a.jsonl");
    assert!(download(&server).unwrap() == body);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.path.ends_with("?signature=secret"))
    );
}

#[test]
fn cut_connections_go_on_where_they_stopped() {
    let body = noise(1_000_000);
    let sent = body.clone();
    // Each answer is cut; more of them than attempts in a row would allow without the progress made.
    let server = Server::start(move |request, _| Answer::ranged(&sent, request).cut_after(450_000));
    assert!(download(&server).unwrap() == body);
    let starts: Vec<_> = gets(&server).iter().map(Request::from).collect();
    assert_eq!(starts, [0, 450_000, 900_000]);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start_again() {
    let body = noise(200_000);
    let sent = body.clone();
    let server = Server::start(move |request, before| {
        let whole = Answer::body(sent.clone());
        if request.method == "GET" && before <= 1 {
            whole.cut_after(120_000)
        } else {
            whole
        }
    });
    assert!(download(&server).unwrap() == body);
}

/// Taken at its word, the file would be empty.
#[test]
fn a_server_that_gives_the_size_of_the_empty_answer_to_head_is_asked_for_the_file() {
    let body = noise(1_000);
    let sent = body.clone();
    let server = Server::start(move |request, _| match request.method.as_str() {
        "HEAD" => Answer::status(200),
        _ => Answer::ranged(&sent, request),
    });
    assert!(download(&server).unwrap() == body);
}

#[test]
fn errors_and_stalls_of_the_server_pass() {
    let body = noise(100_000);
    let sent = body.clone();
    let server = Server::start(move |request, before| match (request.method.as_str(), before) {
        ("HEAD", _) => Answer::ranged(&sent, request),
        (_, 1) => Answer::status(500),
        (_, 2) => Answer::ranged(&sent, request)
            .cut_after(10_000)
            .stall(Duration::from_secs(2)),
        _ => Answer::ranged(&sent, request),
    });
    assert!(download(&server).unwrap() == body);
    let starts: Vec<_> = gets(&server).iter().map(Request::from).collect();
    assert_eq!(
        starts,
        [0, 0, 10_000],
        "after the stall it goes on where it stopped"
    );
}

#[test]
fn a_store_that_keeps_failing_is_given_up_with_the_sources_name() {
    let sent = noise(1_000);
    let broken = sent.clone();
    let server = Server::start(move |request, _| match request.method.as_str() {
        "HEAD" => Answer::ranged(&broken, request),
        _ => Answer::status(503),
    });
    let error = download(&server).unwrap_err();
    assert!(
        error.contains("source `web`: cannot read `http://127.0.0.1"),
        "{error}"
    );
    assert!(
        error.contains("503") && error.contains("given up after 3 attempts"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(gets(&server).len(), 3);

    let stalling = Server::start(move |request, _| match request.method.as_str() {
        "HEAD" => Answer::ranged(&sent, request),
        _ => Answer::ranged(&sent, request)
            .cut_after(10)
            .stall(Duration::from_secs(3)),
    });
    let error = download(&stalling).unwrap_err();
    assert!(
        error.contains("nothing came for 250ms") || error.contains("timed out"),
        "{error}"
    );
}

#[test]
fn a_waiting_time_the_server_asks_for_is_kept() {
    let body = noise(1_000);
    let sent = body.clone();
    let server = Server::start(move |request, before| match before {
        1 => Answer::status(429).header("Retry-After", "1"),
        _ => Answer::ranged(&sent, request),
    });
    let started = std::time::Instant::now();
    assert!(download(&server).unwrap() == body);
    // The policy bounds it: ten times the longest wait of 20 ms, against 5 ms without being asked.
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn what_would_not_pass_is_not_tried_again() {
    let refused = Server::start(|_, _| Answer::status(403));
    let error = list(&refused).unwrap_err();
    assert!(
        error.contains("403 Forbidden") && error.contains("HF_TOKEN"),
        "{error}"
    );
    assert_eq!(
        refused.requests().len(),
        2,
        "HEAD, then GET for servers without HEAD"
    );
    let absent = Server::start(|_, _| Answer::status(404));
    assert!(list(&absent).unwrap_err().contains("404"));
    let folder = format!("{}/data/", absent.address);
    let error = client(&[])
        .list("web", &[folder], &|_| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("404"), "{error}");
    let nobody = client(&[])
        .list("web", &["http://127.0.0.1:9/a.jsonl"], &|_| true)
        .unwrap_err()
        .to_string();
    assert!(nobody.contains("given up after 3 attempts"), "{nobody}");
}

#[test]
fn a_file_that_changes_under_way_is_refused() {
    let (one, two) = (noise(50_000), noise(50_001));
    let server = Server::start(move |request, before| match before {
        0 => Answer::ranged(&one, request),
        _ => Answer::ranged(&two, request),
    });
    let error = download(&server).unwrap_err();
    assert!(
        error.contains("it has 50001 bytes, it was listed with 50000"),
        "{error}"
    );

    let body = noise(50_000);
    let server = Server::start(move |request, before| match before {
        0 | 1 => Answer::ranged(&body, request).cut_after(20_000),
        _ => {
            let mut answer = Answer::ranged(&body, request);
            answer.headers.retain(|(name, _)| name != "ETag");
            answer.header("ETag", "\"v2\"")
        }
    });
    let error = download(&server).unwrap_err();
    assert!(error.contains("it changed while it was being read"), "{error}");
}

#[test]
fn passwords_and_signatures_are_sent_and_never_shown() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/a.jsonl?signature=secret" => Answer::ranged(&noise(10), request),
        _ => Answer::status(404),
    });
    let secret = server.address.replace("http://", "http://user:secret@");
    let list = |path: &str| client(&[]).list("web", &[format!("{secret}{path}")], &|_| true);
    let files = list("/a.jsonl?signature=secret").unwrap();
    assert_eq!(files[0].shard.name, format!("{}/a.jsonl", server.address));
    assert!(server.requests()[0].headers["authorization"].starts_with("Basic "));
    for absent in ["/b.jsonl?signature=secret", "/folder/?signature=secret"] {
        let error = list(absent).unwrap_err().to_string();
        assert!(
            error.contains("cannot list `http://127.0.0.1") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn files_that_differ_in_their_query_only_are_all_listed() {
    let server = Server::start(|request, _| Answer::ranged(&noise(10), request));
    let queries = ["part=1", "part=2", "part=2&signature=secret"];
    let addresses = queries.map(|query| format!("{}/get.jsonl?{query}", server.address));
    let files = client(&[]).list("web", &addresses, &|_| true).unwrap();
    assert_eq!(files.len(), 2, "a signature makes no other file of it");
    assert_ne!(files[0].shard.name, files[1].shard.name);
    for file in files {
        let name = &file.shard.name;
        assert!(name.ends_with("/get.jsonl") && !name.contains("part="), "{name}");
    }
}
