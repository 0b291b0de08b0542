//! Downloads: ranges, kills, faults, hashes, tokens, several processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_hub::{Hub, HubError, Wanted};

use crate::fake_hub::{Answer, FakeHub, git_hash, ranged, sha256};
use crate::{hub_at, hub_of, id, model, noise, policy, small_model};

/// The size of a range.
const RANGE: usize = 16 << 20;

fn blob(folder: &Path, bytes: &[u8]) -> PathBuf {
    folder.join("hub/models--owner--name/blobs").join(sha256(bytes))
}

fn incomplete(folder: &Path, bytes: &[u8]) -> PathBuf {
    blob(folder, bytes).with_extension("incomplete")
}

fn ranges(fake: &FakeHub) -> Vec<String> {
    let requests = fake.store.requests().into_iter();
    requests.map(|request| request.headers["range"].clone()).collect()
}

#[test]
fn a_large_file_comes_in_ranges() {
    let weights = noise(2 * RANGE + 5, 1);
    let fake = FakeHub::start(small_model(&weights));
    let folder = tempfile::tempdir().unwrap();
    let found = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    assert!(fs::read(found.folder.join("model.safetensors")).unwrap() == weights);
    let mut asked = ranges(&fake);
    asked.sort();
    assert_eq!(
        asked,
        [
            "bytes=0-16777215",
            "bytes=16777216-33554431",
            "bytes=33554432-33554436"
        ]
    );
}

#[test]
fn an_interrupted_file_goes_on_where_it_was() {
    let weights = noise(3 * RANGE, 1);
    let fake = FakeHub::start(small_model(&weights));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let stopped = hub.snapshot(&id("owner/name"), None, Wanted::MODEL, &mut |progress| {
        progress.bytes < RANGE as u64
    });
    assert!(matches!(stopped, Err(HubError::Interrupted)));
    let draft = incomplete(folder.path(), &weights);
    assert_eq!(fs::metadata(&draft).unwrap().len(), RANGE as u64);
    assert!(!folder.path().join("hub/models--owner--name/refs/main").exists());

    let before = fake.store.requests().len();
    let mut first = None;
    let found = hub.snapshot(&id("owner/name"), None, Wanted::MODEL, &mut |progress| {
        first.get_or_insert(progress.bytes);
        true
    });
    // What is there counts as done.
    assert_eq!(first, Some(RANGE as u64));
    let found = found.unwrap();
    assert!(fs::read(found.folder.join("model.safetensors")).unwrap() == weights);
    let mut asked = ranges(&fake).split_off(before);
    asked.sort();
    assert_eq!(asked, ["bytes=16777216-33554431", "bytes=33554432-50331647"]);
    assert!(!draft.exists());
}

#[test]
fn half_a_download_of_another_program() {
    let weights = noise(3000, 1);
    let prefix = weights[..1000].to_vec();
    let cases = [
        (prefix, vec!["bytes=1000-2999"]),
        (noise(1000, 2), vec!["bytes=1000-2999", "bytes=0-2999"]),
        (noise(4000, 2), vec!["bytes=0-2999"]),
        (weights.clone(), vec![]),
        (noise(3000, 3), vec!["bytes=0-2999"]),
    ];
    for (there, asked) in cases {
        let fake = FakeHub::start(small_model(&weights));
        let folder = tempfile::tempdir().unwrap();
        let draft = incomplete(folder.path(), &weights);
        fs::create_dir_all(draft.parent().unwrap()).unwrap();
        fs::write(&draft, there).unwrap();
        let found = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
        assert_eq!(fs::read(found.folder.join("model.safetensors")).unwrap(), weights);
        assert_eq!(ranges(&fake), asked);
        assert!(!draft.exists());
    }
}

#[test]
fn a_blob_of_the_wrong_size_is_fetched_again() {
    let weights = noise(3000, 1);
    let fake = FakeHub::start(small_model(&weights));
    let folder = tempfile::tempdir().unwrap();
    let blob = blob(folder.path(), &weights);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, b"cut").unwrap();
    model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    assert_eq!(fs::read(&blob).unwrap(), weights);
}

#[test]
fn other_bytes_than_were_announced_are_not_kept() {
    let weights = noise(3000, 1);
    let large = FakeHub::intercepted(
        small_model(&weights),
        |_, _| None,
        |_, _| {
            Some(
                Answer {
                    status: 206,
                    ..Answer::body(noise(3000, 2))
                }
                .header("Content-Range", "bytes 0-2999/3000"),
            )
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let error = model(&hub_of(&large, folder.path()), "owner/name").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "model.safetensors: its hash is {}, but the Hub announced {}; it was deleted",
            sha256(&noise(3000, 2)),
            sha256(&weights)
        )
    );
    let small = FakeHub::intercepted(
        small_model(&weights),
        |request, _| {
            let get = request.method == "GET" && request.path.ends_with("tokenizer.json");
            get.then(|| {
                Answer {
                    status: 206,
                    ..Answer::body("{\"a\": 2}")
                }
                .header("Content-Range", "bytes 0-7/8")
            })
        },
        |_, _| None,
    );
    let other = tempfile::tempdir().unwrap();
    let error = model(&hub_of(&small, other.path()), "owner/name").unwrap_err();
    assert!(
        matches!(&error, HubError::Damaged { file, .. } if file == "tokenizer.json"),
        "{error}"
    );
    let damaged = [(&folder, sha256(&weights)), (&other, git_hash(b"{\"a\": 1}"))];
    for (folder, etag) in damaged {
        let repository = folder.path().join("hub/models--owner--name");
        let blobs = fs::read_dir(repository.join("blobs")).unwrap();
        let left: Vec<String> = blobs
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(left.iter().all(|name| !name.starts_with(&etag)), "{left:?}");
        assert!(!repository.join("refs").exists());
    }
}

#[test]
fn faults_pass() {
    let weights = noise(3000, 1);
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |_, _| {
            // Each third request is answered.
            let busy = BUSY.fetch_add(1, Ordering::Relaxed) % 3;
            (busy < 2).then(|| Answer::status([429, 503][busy]))
        },
        |_, before| match before {
            0 => Some(
                Answer {
                    status: 206,
                    ..Answer::body(noise(3000, 1))
                }
                .header("Content-Range", "bytes 0-2999/3000")
                .cut_after(700),
            ),
            1 => Some(
                Answer::body("")
                    .stall(Duration::from_secs(2))
                    .header("Content-Length", "3000"),
            ),
            _ => None,
        },
    );
    let folder = tempfile::tempdir().unwrap();
    // Files one after the other, for the counter's sake: only one is wanted at a time.
    let hub = hub_of(&fake, folder.path());
    hub.snapshot(&id("owner/name"), None, Wanted::CONFIG, &mut |_| true)
        .unwrap();
    assert_eq!(fake.hub.requests().len(), 9);
    let found = {
        let calm = FakeHub::intercepted(
            small_model(&weights),
            |_, _| None,
            |_, before| match before {
                0 => Some(
                    Answer {
                        status: 206,
                        ..Answer::body(noise(3000, 1))
                    }
                    .header("Content-Range", "bytes 0-2999/3000")
                    .cut_after(700),
                ),
                1 => Some(
                    Answer {
                        status: 206,
                        ..Answer::body(&noise(3000, 1)[700..])
                    }
                    .header("Content-Range", "bytes 700-2999/3000")
                    .cut_after(10)
                    .stall(Duration::from_secs(2)),
                ),
                _ => None,
            },
        );
        let found = model(&hub_of(&calm, folder.path()), "owner/name").unwrap();
        assert_eq!(calm.store.requests().len(), 3);
        found
    };
    assert_eq!(fs::read(found.folder.join("model.safetensors")).unwrap(), weights);
}

#[test]
fn the_wait_is_the_one_that_was_asked_for() {
    let fake = FakeHub::intercepted(
        small_model(b"weights"),
        |_, before| (before == 0).then(|| Answer::status(429).header("Retry-After", "1")),
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let never = FakeHub::intercepted(
        small_model(b"weights"),
        |_, _| Some(Answer::status(429)),
        |_, _| None,
    );
    let other = tempfile::tempdir().unwrap();
    let error = model(&hub_of(&never, other.path()), "owner/name")
        .unwrap_err()
        .to_string();
    let address = &never.hub.address;
    assert_eq!(
        error,
        format!(
            "cannot ask {address} about owner/name: 127.0.0.1 answered 429 Too Many Requests; given up after 3 attempts in a \
             row"
        )
    );
}

#[test]
fn a_server_without_ranges_sends_all_of_it() {
    let weights = noise(RANGE + 3000, 1);
    let sent = weights.clone();
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |_, _| None,
        move |_, before| {
            let answer = Answer::body(sent.clone());
            // The first without a range is cut.
            Some(if before == 2 {
                answer.cut_after(RANGE + 100)
            } else {
                answer
            })
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let draft = incomplete(folder.path(), &weights);
    fs::create_dir_all(draft.parent().unwrap()).unwrap();
    fs::write(&draft, &weights[..50]).unwrap();
    let found = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    assert!(fs::read(found.folder.join("model.safetensors")).unwrap() == weights);
}

#[test]
fn a_server_without_ranges_that_sends_a_byte_more_each_time_is_given_up() {
    let weights = noise(3000, 1);
    let sent = weights.clone();
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |_, _| None,
        move |_, before| Some(Answer::body(sent.clone()).cut_after(50 + before)),
    );
    let folder = tempfile::tempdir().unwrap();
    let draft = incomplete(folder.path(), &weights);
    fs::create_dir_all(draft.parent().unwrap()).unwrap();
    fs::write(&draft, &weights[..50]).unwrap();
    let error = model(&hub_of(&fake, folder.path()), "owner/name").unwrap_err();
    assert!(error.to_string().contains("given up after 3 attempts"), "{error}");
}

#[test]
fn what_arrives_of_a_range_is_kept() {
    let weights = noise(RANGE, 1);
    let sent = weights.clone();
    let cut = 5 << 20;
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |_, _| None,
        move |request, _| Some(ranged(&sent, request).cut_after(cut)),
    );
    let folder = tempfile::tempdir().unwrap();
    let found = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    assert!(fs::read(found.folder.join("model.safetensors")).unwrap() == weights);
    let from = |part: usize| format!("bytes={}-{}", part * cut, RANGE - 1);
    assert_eq!(ranges(&fake), (0..4).map(from).collect::<Vec<_>>());
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "hf_secret\n").unwrap();
    // Variables that are empty count as absent.
    let empty = ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"].map(|name| (name, " "));
    model(&hub_at(&fake.hub.address, folder.path(), &empty), "owner/name").unwrap();
    let of_hub = fake.hub.requests();
    assert!(
        of_hub
            .iter()
            .all(|request| request.headers["authorization"] == "Bearer hf_secret")
    );
    let elsewhere = fake.store.requests();
    assert_eq!(elsewhere.len(), 1);
    assert!(
        !elsewhere[0].headers.contains_key("authorization") && !elsewhere[0].headers.contains_key("referer")
    );
    // The variable comes first, and a file elsewhere may be named.
    let other = tempfile::tempdir().unwrap();
    let hub = hub_at(&fake.hub.address, other.path(), &[("HF_TOKEN", "hf_other")]);
    model(&hub, "owner/name").unwrap();
    assert_eq!(
        fake.hub.requests().last().unwrap().headers["authorization"],
        "Bearer hf_other"
    );
}

#[test]
fn a_renamed_model_is_found_under_its_new_name() {
    let weights = noise(100, 1);
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |request, _| {
            let path = request
                .path
                .contains("/old/name")
                .then(|| request.path.replace("/old/name", "/owner/name"))?;
            Some(Answer::status(307).header("Location", path))
        },
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_at(&fake.hub.address, folder.path(), &[("HF_TOKEN", "hf_x")]);
    let found = model(&hub, "old/name").unwrap();
    assert_eq!(fs::read(found.folder.join("model.safetensors")).unwrap(), weights);
    assert!(
        found
            .folder
            .starts_with(folder.path().join("hub/models--old--name"))
    );
}

#[test]
fn two_processes_fetch_a_file_once() {
    let weights = noise(RANGE, 1);
    let fake = FakeHub::intercepted(
        small_model(&weights),
        |_, _| None,
        |_, _| {
            std::thread::sleep(Duration::from_millis(300));
            None
        },
    );
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let both =
            [(); 2].map(|()| scope.spawn(|| model(&hub_of(&fake, folder.path()), "owner/name").unwrap()));
        let [one, other] = both.map(|thread| thread.join().unwrap().folder);
        assert_eq!(one, other);
    });
    assert_eq!(fake.store.requests().len(), 1);
}

#[test]
fn a_stalled_store_is_given_up() {
    let fake = FakeHub::intercepted(
        small_model(b"weights"),
        |_, _| None,
        |_, _| {
            std::thread::sleep(Duration::from_secs(1));
            Some(Answer::status(500))
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("HF_ENDPOINT".to_owned(), fake.hub.address.clone()),
        ("HF_HOME".to_owned(), folder.path().display().to_string()),
    ];
    let policy = RetryPolicy {
        attempts: 2,
        stall: Duration::from_millis(200),
        ..policy()
    };
    let hub = Hub::of(RemoteClient::with_environment(policy, environment).unwrap()).unwrap();
    let error = model(&hub, "owner/name").unwrap_err().to_string();
    assert!(
        error.starts_with("cannot fetch owner/name/model.safetensors: ")
            && error.ends_with("given up after 2 attempts in a row")
            && !error.contains("signature"),
        "{error}"
    );
}
