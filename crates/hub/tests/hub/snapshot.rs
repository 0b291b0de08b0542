//! Snapshots: what is downloaded, where it is stored, and when no request is needed.

use std::fs;

use smollm3_hub::{FetchProgress, HubError, Origin, Wanted};

use crate::fake_hub::{Answer, FakeHub, git_hash, sha256};
use crate::{CONFIG, files, hub_at, hub_of, id, model, noise, reported, small_model, tree};

#[test]
fn the_cache_is_that_of_huggingface_hub() {
    let weights = noise(1000, 1);
    let mut all = small_model(&weights);
    all.extend(files(&[
        ("chat_template.jinja", b"{{ messages }}"),
        ("additional_chat_templates/tool_use.jinja", b"{{ tools }}"),
        ("pytorch_model.bin", b"not this"),
        ("model-q8.gguf", b"nor this"),
        ("onnx/model.onnx", b"nor that"),
        ("README.md", b"# Card"),
    ]));
    let fake = FakeHub::start(all);
    let folder = tempfile::tempdir().unwrap();
    let commit = format!("{:040x}", 0xabc0);
    let (found, reports) = reported(&hub_of(&fake, folder.path()), "owner/name");
    let snapshot = format!("hub/models--owner--name/snapshots/{commit}");
    assert_eq!(found.commit, commit);
    assert_eq!(found.folder, folder.path().join(&snapshot));
    let due = [CONFIG.len(), 8, 14, 11, 1000].iter().sum::<usize>() as u64;
    assert_eq!(found.fetched, due);
    let last = FetchProgress {
        files: 4,
        of_files: 5,
        bytes: due,
        of_bytes: due,
    };
    assert_eq!(reports.last(), Some(&last));

    let (config, tokenizer) = (git_hash(CONFIG.as_bytes()), git_hash(b"{\"a\": 1}"));
    let (template, tools) = (git_hash(b"{{ messages }}"), git_hash(b"{{ tools }}"));
    let large = sha256(&weights);
    let mut expected = vec![
        ("hub/models--owner--name/refs/main".to_owned(), "40".to_owned()),
        (
            format!("{snapshot}/config.json"),
            format!("-> ../../blobs/{config}"),
        ),
        (
            format!("{snapshot}/tokenizer.json"),
            format!("-> ../../blobs/{tokenizer}"),
        ),
        (
            format!("{snapshot}/chat_template.jinja"),
            format!("-> ../../blobs/{template}"),
        ),
        (
            format!("{snapshot}/additional_chat_templates/tool_use.jinja"),
            format!("-> ../../../blobs/{tools}"),
        ),
        (
            format!("{snapshot}/model.safetensors"),
            format!("-> ../../blobs/{large}"),
        ),
    ];
    let sizes = [
        (config, CONFIG.len()),
        (tokenizer, 8),
        (template, 14),
        (tools, 11),
        (large, 1000),
    ];
    for (etag, bytes) in sizes {
        expected.push((format!("hub/models--owner--name/blobs/{etag}"), bytes.to_string()));
        expected.push((
            format!("hub/.locks/models--owner--name/{etag}.lock"),
            "0".to_owned(),
        ));
    }
    for absent in [
        "added_tokens.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    ] {
        expected.push((
            format!("hub/models--owner--name/.no_exist/{commit}/{absent}"),
            "0".to_owned(),
        ));
    }
    assert_eq!(tree(folder.path()), expected.into_iter().collect());
    assert_eq!(fs::read(found.folder.join("model.safetensors")).unwrap(), weights);
    assert_eq!(
        fs::read_to_string(folder.path().join("hub/models--owner--name/refs/main")).unwrap(),
        commit
    );
    let origin = Origin {
        repository: "owner/name".to_owned(),
        commit,
    };
    assert_eq!(Origin::of(&found.folder), Some(origin));
}

#[test]
fn what_is_there_is_found_with_one_request_or_none() {
    let fake = FakeHub::start(small_model(&noise(1000, 1)));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let first = model(&hub, "owner/name").unwrap();
    // One for the commit, two for each of three files.
    assert_eq!(fake.hub.requests().len(), 7);
    let again = model(&hub, "owner/name").unwrap();
    assert_eq!((again.folder, again.fetched), (first.folder.clone(), 0));
    assert_eq!(fake.asked()[7..], ["GET /api/models/owner/name/revision/main"]);

    let pinned = format!("owner/name@{}", first.commit);
    assert_eq!(model(&hub, &pinned).unwrap().folder, first.folder);
    let given = hub.snapshot(&id("owner/name"), Some(&first.commit), Wanted::MODEL, &mut |_| {
        true
    });
    assert_eq!(given.unwrap().folder, first.folder);
    let offline = hub_at(&fake.hub.address, folder.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(model(&offline, "owner/name").unwrap().folder, first.folder);
    assert_eq!(fake.hub.requests().len(), 8);
}

#[test]
fn a_cache_that_another_program_filled_needs_no_marks_offline() {
    let fake = FakeHub::start(small_model(&noise(1000, 1)));
    let folder = tempfile::tempdir().unwrap();
    let first = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    let repository = folder.path().join("hub/models--owner--name");
    fs::remove_dir_all(repository.join(".no_exist")).unwrap();
    let variables = [
        ("TRANSFORMERS_OFFLINE", "yes"),
        ("HF_HUB_CACHE", folder.path().join("hub").to_str().unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let offline = hub_at(
        "http://127.0.0.1:9",
        "/nowhere".as_ref(),
        &variables
            .each_ref()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    assert_eq!(model(&offline, "owner/name").unwrap().folder, first.folder);

    fs::remove_file(first.folder.join("model.safetensors")).unwrap();
    let error = model(&offline, "owner/name").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "owner/name is not in {} (no model.safetensors), and HF_HUB_OFFLINE is set; unset it, or fetch the model first",
            repository.display()
        )
    );
    let error = model(&offline, "owner/name@v2").unwrap_err().to_string();
    assert!(error.contains("(`v2` has never been fetched)"), "{error}");
}

#[test]
fn only_config_is_fetched_where_nothing_else_is_wanted() {
    let fake = FakeHub::start(small_model(&noise(1000, 1)));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let found = hub
        .snapshot(&id("owner/name"), None, Wanted::CONFIG, &mut |_| true)
        .unwrap();
    assert_eq!(fs::read_dir(&found.folder).unwrap().count(), 1);
    assert_eq!(found.fetched, CONFIG.len() as u64);
    let found = hub
        .snapshot(&id("owner/name"), None, Wanted::TOKENIZER, &mut |_| true)
        .unwrap();
    assert_eq!(
        fs::read(found.folder.join("tokenizer.json")).unwrap(),
        b"{\"a\": 1}"
    );
    assert_eq!(fs::read_dir(&found.folder).unwrap().count(), 2);
    assert!(fake.store.requests().is_empty());
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
        "c": "model-00001-of-00002.safetensors"}}"#;
    let fake = FakeHub::start(files(&[
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"second"),
        ("model.fp16.safetensors", b"another"),
        ("consolidated.safetensors", b"the same again"),
    ]));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let found = model(&hub, "owner/name").unwrap();
    let mut names: Vec<String> = fs::read_dir(&found.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json"
        ]
    );
    // One of them gone is one that is missing.
    fs::remove_file(found.folder.join("model-00002-of-00002.safetensors")).unwrap();
    let offline = hub_at(&fake.hub.address, folder.path(), &[("HF_HUB_OFFLINE", "ON")]);
    let error = model(&offline, "owner/name").unwrap_err().to_string();
    assert!(error.contains("(no model-00002-of-00002.safetensors)"), "{error}");
    // Its blob is still there: it costs a question, no bytes.
    let before = fake.store.requests().len();
    assert_eq!(model(&hub, "owner/name").unwrap().folder, found.folder);
    assert_eq!(fake.store.requests().len(), before);
}

#[test]
fn one_file_comes_before_an_index() {
    let index = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
    let fake = FakeHub::start(files(&[
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors", b"saved later"),
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-00001-of-00001.safetensors", b"left over"),
    ]));
    let folder = tempfile::tempdir().unwrap();
    let found = model(&hub_of(&fake, folder.path()), "owner/name").unwrap();
    let has = |name: &str| found.folder.join(name).exists();
    assert!(has("model.safetensors"));
    assert!(!has("model.safetensors.index.json") && !has("model-00001-of-00001.safetensors"));
    // Python's library fetches all of them; a shard that is gone is not missed.
    fs::write(found.folder.join("model.safetensors.index.json"), index).unwrap();
    let offline = hub_at(&fake.hub.address, folder.path(), &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(model(&offline, "owner/name").unwrap().folder, found.folder);
}

#[test]
fn revisions_and_folders_inside() {
    let fake = FakeHub::start(files(&[("README.md", b"")]));
    let other = fake.commit(
        "refs/pr/7",
        files(&[
            ("intermediate/step-1/config.json", CONFIG.as_bytes()),
            ("intermediate/step-1/model.safetensors", b"weights"),
            ("config.json", b"the other"),
        ]),
    );
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let found = model(&hub, "hf://owner/name@refs%2Fpr%2F7/intermediate/step-1").unwrap();
    let repository = folder.path().join("hub/models--owner--name");
    assert_eq!(
        found.folder,
        repository
            .join("snapshots")
            .join(&other)
            .join("intermediate/step-1")
    );
    assert_eq!(
        fs::read(found.folder.join("model.safetensors")).unwrap(),
        b"weights"
    );
    assert_eq!(
        fs::read_to_string(repository.join("refs/refs/pr/7")).unwrap(),
        other
    );
    assert!(
        !repository
            .join("snapshots")
            .join(&other)
            .join("config.json")
            .exists()
    );
    assert_eq!(Origin::of(&found.folder).unwrap().commit, other);
    assert_eq!(
        fake.asked()[0],
        "GET /api/models/owner/name/revision/refs%2Fpr%2F7"
    );
}

#[test]
fn all_files_are_of_the_commit_that_was_asked_first() {
    let (before, after) = (noise(1000, 1), noise(1000, 2));
    let fake = FakeHub::start(small_model(&before));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let mut moved = None;
    let first = hub.snapshot(&id("owner/name"), None, Wanted::MODEL, &mut |_| {
        moved.get_or_insert_with(|| fake.commit("main", small_model(&after)));
        true
    });
    let first = first.unwrap();
    assert_eq!(fs::read(first.folder.join("model.safetensors")).unwrap(), before);
    let resolved = fake.asked().into_iter().filter(|path| path.contains("/resolve/"));
    assert!(resolved.into_iter().all(|path| path.contains(&first.commit)));

    let second = model(&hub, "owner/name").unwrap();
    assert_eq!(Some(second.commit.clone()), moved);
    assert_eq!(fs::read(second.folder.join("model.safetensors")).unwrap(), after);
    // Two files are the same blobs in both.
    assert_eq!(second.fetched, 1000);
    assert_eq!(
        model(&hub, &format!("owner/name@{}", first.commit))
            .unwrap()
            .folder,
        first.folder
    );
}

#[test]
fn a_file_of_another_commit_is_refused() {
    let fake = FakeHub::intercepted(
        small_model(b"weights"),
        |request, _| {
            let other = "f".repeat(40);
            request.path.ends_with("config.json").then(|| {
                Answer::body("{}")
                    .header("ETag", "\"x\"")
                    .header("X-Repo-Commit", other)
            })
        },
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let error = model(&hub_of(&fake, folder.path()), "owner/name")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "owner/name/config.json: the server sent it at commit {}",
            "f".repeat(40)
        )),
        "{error}"
    );
}

#[test]
fn what_was_there_last_is_taken_where_the_hub_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let found = {
        let fake = FakeHub::start(small_model(b"weights"));
        model(&hub_of(&fake, folder.path()), "owner/name").unwrap()
    };
    let gone = hub_at("http://127.0.0.1:9", folder.path(), &[]);
    assert_eq!(model(&gone, "owner/name").unwrap().folder, found.folder);
    let broken = FakeHub::intercepted(files(&[]), |_, _| Some(Answer::status(503)), |_, _| None);
    assert_eq!(
        model(&hub_of(&broken, folder.path()), "owner/name")
            .unwrap()
            .folder,
        found.folder
    );
    assert_eq!(broken.hub.requests().len(), 1);

    let error = model(&gone, "owner/other").unwrap_err();
    assert!(matches!(error, HubError::Request(_)));
    let error = error.to_string();
    assert!(
        error.starts_with("cannot ask http://127.0.0.1:9 about owner/other: error sending request")
            && error.ends_with("given up after 3 attempts in a row"),
        "{error}"
    );
}
