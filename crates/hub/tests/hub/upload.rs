//! Uploads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smollm3_hub::{
    Content, Hub, HubError, Result, Upload, UploadFile, UploadProgress, UploadStep, Uploaded,
    checkpoint_files,
};

use crate::fake_hub::{Answer, FakeHub, Request, sha256};
use crate::{CONFIG, files, hub_at, hub_of, id, model, noise, small_model};

fn writer(fake: &FakeHub, folder: &Path) -> Hub {
    hub_at(&fake.hub.address, folder, &[("HF_TOKEN", FakeHub::TOKEN)])
}

/// A checkpoint's folder.
fn checkpoint(folder: &Path, weights: &[u8]) -> Vec<UploadFile> {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in small_model(weights) {
        fs::write(folder.join(name), bytes).unwrap();
    }
    for state in [
        "optimizer.safetensors",
        "state.json",
        "manifest.json",
        "hub.json",
        "adapter_config.json",
    ] {
        fs::write(folder.join(state), b"{}").unwrap();
    }
    checkpoint_files(folder).unwrap()
}

fn upload(hub: &Hub, to: &str, files: &[UploadFile]) -> Result<Uploaded> {
    upload_as(hub, to, files, false, &mut |_| true)
}

fn upload_as(
    hub: &Hub,
    to: &str,
    files: &[UploadFile],
    private: bool,
    report: &mut dyn FnMut(UploadProgress) -> bool,
) -> Result<Uploaded> {
    let upload = Upload {
        to: &id(to),
        private,
        message: "step 3 of sft",
        files,
    };
    hub.upload(&upload, report)
}

fn puts(fake: &FakeHub) -> Vec<String> {
    let requests = fake.store.requests().into_iter();
    requests
        .filter(|request| request.method == "PUT")
        .map(|request| request.path)
        .collect()
}

fn commits(fake: &FakeHub) -> usize {
    fake.asked()
        .iter()
        .filter(|asked| asked.contains("/commit/"))
        .count()
}

#[test]
fn a_folder_becomes_a_model_in_one_commit() {
    let fake = FakeHub::empty();
    let folder = tempfile::tempdir().unwrap();
    let weights = noise(3_000_000, 1);
    let local = checkpoint(&folder.path().join("step-3"), &weights);
    let hub = writer(&fake, folder.path());
    let mut reports = Vec::new();
    let done = upload_as(&hub, "owner/name", &local, true, &mut |progress| {
        reports.push(progress);
        true
    })
    .unwrap();
    assert!(fake.is_private());
    assert_eq!(fake.messages(), [("main".to_owned(), "step 3 of sft".to_owned())]);
    assert_eq!((done.is_new, done.sent), (true, 3_000_000));
    assert_eq!(done.commit, fake.head("main").unwrap());
    assert_eq!(done.url, format!("{}/owner/name", fake.hub.address));
    let mut expected = small_model(&weights);
    expected.insert(".gitattributes".to_owned(), b"*.bin".to_vec());
    assert!(fake.files("main") == expected, "the state of training stays here");
    let steps = |step| reports.iter().rfind(|progress| progress.step == step).unwrap();
    for step in [UploadStep::Hashing, UploadStep::Sending] {
        assert_eq!((steps(step).bytes, steps(step).of_bytes), (3_000_000, 3_000_000));
    }

    // Downloaded again, as anyone gets it.
    let found = model(&hub, "owner/name").unwrap();
    assert_eq!(fs::read(found.folder.join("model.safetensors")).unwrap(), weights);

    // Once more: nothing is sent, and there is no commit of nothing.
    let before = puts(&fake).len();
    let again = upload(&hub, "owner/name", &local).unwrap();
    assert_eq!((again.is_new, again.sent, again.commit), (false, 0, done.commit));
    assert_eq!((puts(&fake).len(), commits(&fake)), (before, 1));
}

#[test]
fn what_changes_is_sent_and_what_is_gone_is_removed() {
    let mut there = small_model(b"weights");
    there.extend(files(&[
        ("README.md", b"by hand"),
        ("model.gguf", b"GGUF"),
        ("chat_template.jinja", b"{{ old }}"),
        ("model.safetensors.index.json", b"{}"),
        ("model-00001-of-00002.safetensors", b"half"),
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", b"factors"),
        ("adapter/adapter_config.json", b"{}"),
        ("adapter/adapter_model.safetensors", b"factors"),
        ("adapter/README.md", b"by hand"),
    ]));
    let fake = FakeHub::start(there);
    let folder = tempfile::tempdir().unwrap();
    let mut local = checkpoint(&folder.path().join("step-3"), b"weights");
    let step = folder.path().join("step-3");
    fs::write(step.join("tokenizer.json"), b"{\"a\": 2}").unwrap();
    local.push(UploadFile {
        name: "recipe.toml".to_owned(),
        content: Content::Text("[run]".to_owned()),
    });
    let done = upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap();
    assert!(done.is_new && puts(&fake).is_empty());
    let mut expected = small_model(b"weights");
    expected.extend(files(&[
        ("README.md", b"by hand"),
        ("model.gguf", b"GGUF"),
        ("adapter/README.md", b"by hand"),
        ("tokenizer.json", b"{\"a\": 2}"),
        ("recipe.toml", b"[run]"),
    ]));
    assert_eq!(fake.files("main"), expected);
    let requests = fake.hub.requests();
    let commit = requests
        .iter()
        .find(|request| request.path.contains("/commit/"))
        .unwrap();
    // A header, two files, seven that go.
    assert_eq!(commit.body.iter().filter(|byte| **byte == b'\n').count(), 10);

    // Of a folder of no run: the recipe told of another checkpoint.
    local.pop();
    upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap();
    expected.remove("recipe.toml");
    assert_eq!(fake.files("main"), expected);
}

#[test]
fn a_generated_text_that_somebody_has_edited_stays() {
    let generated = |text: &str| {
        vec![UploadFile {
            name: "README.md".to_owned(),
            content: Content::Generated {
                text: text.to_owned(),
                marker: "<!-- generated -->",
            },
        }]
    };
    let fake = FakeHub::empty();
    let folder = tempfile::tempdir().unwrap();
    let hub = writer(&fake, folder.path());
    upload(&hub, "owner/name", &generated("one <!-- generated -->")).unwrap();
    upload(&hub, "owner/name", &generated("two <!-- generated -->")).unwrap();
    assert_eq!(fake.files("main")["README.md"], b"two <!-- generated -->");
    let mut edited = fake.files("main");
    edited.insert("README.md".to_owned(), b"my words".to_vec());
    fake.commit("main", edited);
    let done = upload(&hub, "owner/name", &generated("three <!-- generated -->")).unwrap();
    assert_eq!((done.is_new, done.kept), (false, vec!["README.md".to_owned()]));
    assert_eq!(fake.files("main")["README.md"], b"my words");
}

#[test]
fn a_branch_is_created_where_it_is_missing() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"others");
    let hub = writer(&fake, folder.path());
    let done = upload(&hub, "owner/name@sft-step-3", &local).unwrap();
    assert_eq!(
        done.url,
        format!("{}/owner/name/tree/sft-step-3", fake.hub.address)
    );
    assert_eq!(fake.files("sft-step-3")["model.safetensors"], b"others");
    assert_eq!(fake.files("main")["model.safetensors"], b"weights");
    let found = model(&hub, "owner/name@sft-step-3").unwrap();
    assert_eq!(found.commit, done.commit);

    assert!(
        hub.create_branch(&id("owner/name@kept"), &done.commit, &|| true)
            .unwrap()
    );
    assert!(
        !hub.create_branch(&id("owner/name@kept"), &done.commit, &|| true)
            .unwrap()
    );
    assert_eq!(fake.head("kept"), Some(done.commit));
}

#[test]
fn a_large_file_goes_in_parts() {
    let fake = FakeHub::empty().in_parts_of(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let weights = noise(11_500_000, 1);
    let local = checkpoint(&folder.path().join("step-3"), &weights);
    let done = upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap();
    assert_eq!(done.sent, 11_500_000);
    assert!(fake.files("main")["model.safetensors"] == weights);
    let mut sizes: Vec<(String, String)> = fake
        .store
        .requests()
        .into_iter()
        .map(|request| (request.path.clone(), request.headers["content-length"].clone()))
        .collect();
    sizes.sort();
    assert_eq!(sizes.len(), 12);
    assert_eq!(sizes.iter().filter(|(_, size)| size == "1000000").count(), 11);
}

#[test]
fn an_upload_that_was_stopped_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = noise(2_000_000, 1);
    let second = noise(2_000_000, 2);
    let stop = Arc::new(AtomicBool::new(false));
    let late = sha256(&second);
    let stops = Arc::clone(&stop);
    let fake = FakeHub::empty_intercepted(
        |_, _| None,
        // The second file does not come through until the upload has been stopped.
        move |request, _| {
            let is_late = request.path.contains(&late) && !stops.load(Ordering::Relaxed);
            is_late.then(|| {
                std::thread::sleep(Duration::from_millis(500));
                Answer::status(503)
            })
        },
    );
    let step = folder.path().join("step-3");
    let mut local = checkpoint(&step, &first);
    fs::write(step.join("more.bin"), &second).unwrap();
    local.push(UploadFile {
        name: "more.bin".to_owned(),
        content: Content::File(step.join("more.bin")),
    });
    let hub = writer(&fake, folder.path());
    let stopped = upload_as(&hub, "owner/name", &local, false, &mut |progress| {
        progress.step == UploadStep::Hashing || fake.store.requests().len() < 2
    });
    assert!(matches!(stopped, Err(HubError::UploadInterrupted)), "{stopped:?}");
    assert_eq!(commits(&fake), 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !puts(&fake).iter().any(|path| path.contains(&sha256(&first))) {
        assert!(Instant::now() < deadline);
    }
    stop.store(true, Ordering::Relaxed);
    let before = puts(&fake).len();
    let done = upload(&hub, "owner/name", &local).unwrap();
    assert_eq!(done.sent, 2_000_000);
    assert!(
        puts(&fake)[before..]
            .iter()
            .all(|path| path.contains(&sha256(&second)))
    );
    assert!(fake.files("main")["model.safetensors"] == first && fake.files("main")["more.bin"] == second);
}

#[test]
fn a_branch_that_moves_is_looked_at_again() {
    static MOVED: AtomicUsize = AtomicUsize::new(0);
    // Twice another commit is first: once by 412 and once by 409.
    let fake = FakeHub::empty_intercepted(
        |request, _| {
            if !request.path.contains("/commit/") {
                return None;
            }
            let status = [412, 409].get(MOVED.fetch_add(1, Ordering::Relaxed)).copied()?;
            Some(Answer::status(status).header("X-Error-Message", "A commit has happened since"))
        },
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"weights");
    let done = upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap();
    assert_eq!(done.commit, fake.head("main").unwrap());
    assert_eq!((commits(&fake), puts(&fake).len()), (3, 1));
    assert_eq!(
        fake.asked()
            .iter()
            .filter(|asked| asked.contains("/preupload/"))
            .count(),
        3
    );
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let fake = Arc::new(FakeHub::empty());
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"weights");
    // In front of the Hub, something that loses the first answer to a commit.
    let behind = Arc::clone(&fake);
    static LOST: AtomicBool = AtomicBool::new(false);
    let front = crate::fake_hub::Server::start(move |request, _| {
        let answer = passed_on(&behind, request);
        match request.path.contains("/commit/") && !LOST.swap(true, Ordering::Relaxed) {
            true => answer.cut_after(0),
            false => answer,
        }
    });
    let hub = hub_at(&front.address, folder.path(), &[("HF_TOKEN", FakeHub::TOKEN)]);
    let done = upload(&hub, "owner/name", &local).unwrap();
    assert_eq!((fake.messages().len(), commits(&fake)), (1, 1));
    assert_eq!(done.commit, fake.head("main").unwrap());
}

/// What the Hub answers to a request that came elsewhere.
fn passed_on(fake: &FakeHub, request: &Request) -> Answer {
    use std::io::{Read, Write};
    let address = fake.hub.address.trim_start_matches("http://");
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(b"\r\n").unwrap();
    connection.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let answered = Answer {
        status,
        ..Answer::body(&answer[end + 4..])
    };
    lines.fold(answered, |answer, line| {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Connection" | "Content-Length" => answer,
            name => answer.header(name, value),
        }
    })
}

#[test]
fn faults_pass_and_addresses_that_expire_are_asked_for_again() {
    let weights = noise(300_000, 1);
    // Each request fails when it is first made.
    let asked: Mutex<BTreeSet<String>> = Mutex::default();
    let fake = FakeHub::empty_intercepted(
        move |request, before| {
            let first = request.method == "POST" && asked.lock().unwrap().insert(request.path.clone());
            first.then(|| Answer::status([429, 503][before % 2]).header("Retry-After", "0"))
        },
        |_, before| match before {
            0 => Some(Answer::status(500)),
            1 => Some(Answer::status(403)),
            _ => None,
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), &weights);
    let mut most = 0;
    let done = upload_as(
        &writer(&fake, folder.path()),
        "owner/name",
        &local,
        false,
        &mut |progress| {
            most = progress.bytes.max(most);
            assert!(progress.bytes <= progress.of_bytes, "{progress:?}");
            true
        },
    );
    assert_eq!(done.unwrap().sent, 300_000);
    assert_eq!(most, 300_000);
    assert_eq!(puts(&fake).len(), 3);
    assert!(fake.files("main")["model.safetensors"] == weights);
}

#[test]
fn the_wait_is_the_one_that_the_hub_asks_for() {
    for header in [("Retry-After", "1"), ("RateLimit", "\"api\";r=0;t=1")] {
        let asked = AtomicUsize::new(0);
        let fake = FakeHub::empty_intercepted(
            move |request, _| {
                let first =
                    request.path.contains("/preupload/") && asked.fetch_add(1, Ordering::Relaxed) == 0;
                first.then(|| Answer::status(429).header(header.0, header.1))
            },
            |_, _| None,
        );
        let folder = tempfile::tempdir().unwrap();
        let local = checkpoint(&folder.path().join("step-3"), b"weights");
        let begun = Instant::now();
        upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1), "{header:?}");
    }
}

#[test]
fn tokens_that_may_not() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"others");
    let address = &fake.hub.address;
    let error = |variables: &[(&str, &str)]| {
        let hub = hub_at(address, folder.path(), variables);
        upload(&hub, "owner/name", &local).unwrap_err().to_string()
    };
    let none = upload(&hub_of(&fake, folder.path()), "owner/name", &local).unwrap_err();
    assert!(matches!(none, HubError::NoToken { .. }));
    assert_eq!(
        none.to_string(),
        format!(
            "an upload needs a token; make one with write permission at {address}/settings/tokens and set HF_TOKEN, or run \
             `hf auth login`"
        )
    );
    assert_eq!(
        error(&[("HF_TOKEN", "hf_read")]),
        format!(
            "{address} answered 403 (you must use a write token to upload to a repository) to an upload to owner/name: the \
             token (HF_TOKEN) is not valid or has no write permission there; make one that has at {address}/settings/tokens"
        )
    );
    assert!(error(&[("HF_TOKEN", "hf_wrong")]).contains("answered 401 (Invalid credentials"));
    assert_eq!(
        error(&[("HF_TOKEN", FakeHub::TOKEN), ("HF_HUB_OFFLINE", "1")]),
        "HF_HUB_OFFLINE is set; unset it to upload"
    );
    assert!(puts(&fake).is_empty() && commits(&fake) == 0);
}

#[test]
fn repositories_that_are_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"others");
    let public = FakeHub::start(small_model(b"weights"));
    let address = &public.hub.address;
    let error = upload_as(
        &writer(&public, folder.path()),
        "owner/name",
        &local,
        true,
        &mut |_| true,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "owner/name is public; make it private at {address}/owner/name/settings, or upload without --private; in run.push \
             write private = false"
        )
    );
    assert!(public.messages().is_empty());

    let taken = FakeHub::empty_intercepted(
        |request, _| {
            let create = request.path == "/api/repos/create";
            create.then(|| Answer::status(409).header("X-Error-Message", "You already created this space"))
        },
        |_, _| None,
    );
    let error = upload(&writer(&taken, folder.path()), "owner/name", &local)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "refuses to create the model owner/name (You already created this space): the name is taken"
        ),
        "{error}"
    );
    let hub = writer(&taken, folder.path());
    for place in [
        "hf://owner/name/folder".to_owned(),
        format!("owner/name@{}", "a".repeat(40)),
    ] {
        let error = upload(&hub, &place, &local).unwrap_err();
        assert!(matches!(error, HubError::Destination(_)), "{error}");
    }
}

#[test]
fn no_space_left() {
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"others");
    let batch = FakeHub::empty_intercepted(
        |request, _| {
            let message = r#"{"objects": [{"oid": "", "size": 6, "error":
                {"code": 403, "message": "Private repository storage limit reached"}}]}"#;
            request.path.ends_with("/batch").then(|| Answer::body(message))
        },
        |_, _| None,
    );
    let status = FakeHub::empty_intercepted(
        |request, _| {
            let full =
                Answer::status(402).header("X-Error-Message", "Private repository storage limit reached");
            request.path.contains("/commit/").then_some(full)
        },
        |_, _| None,
    );
    for fake in [batch, status] {
        let error = upload(&writer(&fake, folder.path()), "owner/name", &local).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "owner/name: the Hub has no space left for it (Private repository storage limit reached); remove files, or \
                 see {}/settings/billing",
                fake.hub.address
            )
        );
    }
}

#[test]
fn a_store_that_takes_nothing_is_given_up() {
    let fake = FakeHub::empty_intercepted(|_, _| None, |_, _| Some(Answer::status(503)));
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"weights");
    let error = upload(&writer(&fake, folder.path()), "owner/name", &local)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot upload model.safetensors to owner/name: 127.0.0.1 answered 503")
            && error.ends_with("attempts in a row")
            && !error.contains("signature"),
        "{error}"
    );
    assert_eq!(commits(&fake), 0);
}

#[test]
fn folders_that_are_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| checkpoint_files(path).unwrap_err().to_string();
    let run = folder.path().join("run");
    let step = run.join("sft/step-00000003");
    checkpoint(&step, b"weights");
    fs::write(run.join("recipe.json"), "{}").unwrap();
    let hint = format!(
        "is not a checkpoint: it has no config.json; {} is one",
        step.display()
    );
    assert!(error(&run).ends_with(&hint), "{}", error(&run));
    assert!(error(&run.join("sft")).ends_with(&hint));
    let none = folder.path().join("none");
    assert!(error(&none).ends_with("none is not a checkpoint: it has no config.json"));
    fs::remove_file(step.join("model.safetensors")).unwrap();
    assert!(error(&step).ends_with("is not a checkpoint: it has no model.safetensors"));
    let index = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
    fs::write(step.join("model.safetensors.index.json"), index).unwrap();
    assert!(error(&step).ends_with("it has no model-00001-of-00001.safetensors"));
    fs::write(step.join("config.json"), CONFIG.replace("llama", "other")).unwrap();
    assert!(error(&step).contains("other"), "{}", error(&step));
}

#[test]
fn a_stop_is_heeded_while_the_next_attempt_is_waited_for() {
    let fake = FakeHub::empty_intercepted(
        |_, _| Some(Answer::status(503).header("Retry-After", "1")),
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let local = checkpoint(&folder.path().join("step-3"), b"weights");
    let hub = writer(&fake, folder.path());
    let begun = Instant::now();
    let stopped = upload_as(&hub, "owner/name", &local, false, &mut |_| false);
    assert!(matches!(stopped, Err(HubError::UploadInterrupted)), "{stopped:?}");
    let stopped = hub.create(&id("owner/name"), false, &|| false);
    assert!(matches!(stopped, Err(HubError::UploadInterrupted)), "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn adapters_go_along_where_others_can_have_their_base() {
    let folder = tempfile::tempdir().unwrap();
    let step = folder.path().join("step-3");
    checkpoint(&step, b"weights");
    fs::create_dir(step.join("adapter")).unwrap();
    fs::write(step.join("adapter/adapter_model.safetensors"), b"factors").unwrap();
    let names = |base: &str| {
        let config = format!(
            r#"{{"peft_type": "LORA", "base_model_name_or_path": "{base}", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}}"#
        );
        fs::write(step.join("adapter/adapter_config.json"), config).unwrap();
        let files = checkpoint_files(&step).unwrap().into_iter();
        let names = files.map(|file| file.name);
        names.filter(|name| name.contains("adapter")).collect::<Vec<_>>()
    };
    assert_eq!(
        names("owner/base"),
        ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    );
    // A local folder.
    assert!(names("../../step-3").is_empty());
}

#[test]
fn an_adapter_alone_brings_the_tokenizer_of_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let step = folder.path().join("step-3");
    checkpoint(&step, b"weights");
    fs::write(step.join("tokenizer.json"), "{}").unwrap();
    fs::write(step.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let adapter = step.join("adapter");
    fs::create_dir(&adapter).unwrap();
    let config = |base: &str| {
        let config = format!(
            r#"{{"peft_type": "LORA", "base_model_name_or_path": "{base}", "r": 2, "lora_alpha": 4}}"#
        );
        fs::write(adapter.join("adapter_config.json"), config).unwrap();
    };
    config("owner/base");
    let error = |folder: &Path| checkpoint_files(folder).unwrap_err().to_string();
    assert!(
        error(&adapter).ends_with("it has no adapter_model.safetensors"),
        "{}",
        error(&adapter)
    );
    fs::write(adapter.join("adapter_model.safetensors"), b"factors").unwrap();
    let files = |folder: &Path| {
        let mut files = checkpoint_files(folder).unwrap();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    };
    let at = |folder: &Path, name: &str| UploadFile {
        name: name.to_owned(),
        content: Content::File(folder.join(name)),
    };
    let whole = fs::canonicalize(&step).unwrap();
    let expected = [
        at(&adapter, "adapter_config.json"),
        at(&adapter, "adapter_model.safetensors"),
        at(&whole, "chat_template.jinja"),
        at(&whole, "tokenizer.json"),
    ];
    assert_eq!(files(&adapter), expected);
    // Its own comes first.
    fs::write(adapter.join("tokenizer.json"), "{}").unwrap();
    assert_eq!(files(&adapter)[2..], [at(&adapter, "tokenizer.json")]);
    // The files of the model that was there before go.
    let fake = FakeHub::empty();
    let hub = writer(&fake, folder.path());
    let whole_model = checkpoint_files(&step).unwrap();
    upload(&hub, "owner/name", &whole_model).unwrap();
    upload(&hub, "owner/name", &files(&adapter)).unwrap();
    let on_main: Vec<String> = fake.files("main").into_keys().collect();
    assert_eq!(
        on_main,
        [
            ".gitattributes",
            "adapter_config.json",
            "adapter_model.safetensors",
            "tokenizer.json"
        ]
    );
    config("../../step-3");
    let problem = error(&adapter);
    assert!(
        problem.contains("its base model is the folder") && problem.contains("export the adapter"),
        "{problem}"
    );
}
