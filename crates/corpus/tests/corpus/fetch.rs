use std::fs;
use std::sync::Mutex;

use smollm3_corpus::CorpusError;
use smollm3_corpus::fetch::{FetchProgress, fetch};

use crate::remote::{client, noise};
use crate::server::{Answer, Server};

fn server() -> Server {
    Server::start(|request, before| match request.path.as_str() {
        // The first requests are the listing's.
        "/b.jsonl" if before == 4 => Answer::status(500),
        "/broken.jsonl" if request.method == "GET" => Answer::status(410),
        path => Answer::ranged(&noise(1_000 * path.len()), request),
    })
}

fn addresses(server: &Server, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| format!("{}/{name}", server.address))
        .collect()
}

#[test]
fn files_are_fetched_once_and_again_when_missing() {
    let (server, folder, client) = (server(), tempfile::tempdir().unwrap(), client(&[]));
    let files = client
        .list(
            "web",
            &addresses(&server, &["a.jsonl", "b.jsonl", "cc.jsonl"]),
            &|_| true,
        )
        .unwrap();
    let seen = Mutex::new(Vec::new());
    let run = || {
        fetch("web", &files, folder.path(), &client, &|progress| {
            seen.lock().unwrap().push(progress);
            true
        })
        .unwrap()
    };
    let all = FetchProgress {
        files: 3,
        of_files: 3,
        bytes: 25_000,
        of_bytes: 25_000,
    };
    assert_eq!(run(), all);
    assert_eq!(
        seen.lock().unwrap().first().map(|progress| progress.bytes),
        Some(0)
    );
    assert_eq!(seen.lock().unwrap().last(), Some(&all));
    for (name, bytes) in [("a.jsonl", 8_000), ("b.jsonl", 8_000), ("cc.jsonl", 9_000)] {
        assert!(
            fs::read(folder.path().join(name)).unwrap() == noise(bytes),
            "{name}"
        );
    }

    let requests = server.requests().len();
    assert_eq!(run(), all);
    assert_eq!(server.requests().len(), requests, "nothing is fetched twice");
    fs::remove_file(folder.path().join("b.jsonl")).unwrap();
    run();
    assert_eq!(server.requests().len(), requests + 1);
}

#[test]
fn files_of_one_name_are_kept_apart_by_their_folders() {
    let server = Server::start(|request, _| Answer::ranged(request.path.as_bytes(), request));
    let (folder, client) = (tempfile::tempdir().unwrap(), client(&[]));
    let names = [
        "v1/de/a.jsonl",
        "v1/fr/a.jsonl",
        "v2/fr/a.jsonl",
        "v2/fr/a.jsonl?part=2",
        "v2/fr/b.jsonl",
    ];
    let listed = addresses(&server, &names);
    let files = client.list("web", &listed, &|_| true).unwrap();
    for _ in 0..2 {
        fetch("web", &files, folder.path(), &client, &|_| true).unwrap();
    }
    let mut shown = files.iter().map(|file| file.shard.name.as_str());
    let (_, hash) = shown.find_map(|name| name.split_once("query-")).unwrap();
    let hashed = format!("query-{hash}");
    for (path, name) in [
        ("de/a.jsonl", names[0]),
        ("v1/fr/a.jsonl", names[1]),
        ("v2/fr/a.jsonl", names[2]),
        (hashed.as_str(), names[3]),
        ("b.jsonl", names[4]),
    ] {
        let found = fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(found, format!("/{name}"), "{path}");
    }
    let requests = server.requests().into_iter();
    let downloads = requests.filter(|request| request.method == "GET");
    assert_eq!(downloads.count(), names.len(), "the second time, all are there");

    // What nothing tells apart is refused before a byte is written.
    let other = folder.path().join("other");
    let twice = [files[0].clone(), files[0].clone()];
    let error = fetch("web", &twice, &other, &client, &|_| true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.jsonl`") && error.contains("same name"),
        "{error}"
    );
    assert!(!other.exists());
}

#[test]
fn failures_and_stops_keep_what_is_whole() {
    let (server, folder, client) = (server(), tempfile::tempdir().unwrap(), client(&[]));
    let files = client
        .list("web", &addresses(&server, &["a.jsonl", "broken.jsonl"]), &|_| {
            true
        })
        .unwrap();
    let error = fetch("web", &files, folder.path(), &client, &|_| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("source `web`") && error.contains("410"), "{error}");
    assert!(!folder.path().join("broken.jsonl").exists());

    let stopped = fetch("web", &files[..1], &folder.path().join("other"), &client, &|_| {
        false
    });
    assert!(matches!(stopped, Err(CorpusError::Interrupted)));
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let (server, folder, client) = (server(), tempfile::tempdir().unwrap(), client(&[]));
    let mut files = client
        .list("web", &addresses(&server, &["a.jsonl"]), &|_| true)
        .unwrap();
    for name in ["../a.jsonl", "/etc/a.jsonl", "", "fetched.json"] {
        files[0].relative = name.to_owned();
        let error = fetch("web", &files, folder.path(), &client, &|_| true)
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot be the name of a file"), "{name}: {error}");
    }
}
