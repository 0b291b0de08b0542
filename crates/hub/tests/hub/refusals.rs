//! Refusals of the Hub, incomplete repositories and invalid ids, with what to do.

use std::fs;
use std::path::Path;

use smollm3_files::FilesError;
use smollm3_hub::{Hub, HubError, Wanted, fetched, folder_or_hub};

use crate::fake_hub::{Answer, FakeHub};
use crate::{CONFIG, files, hub_at, hub_of, id, model, small_model};

/// The message where the Hub answers everything with this.
fn message(answer: Answer, token: bool) -> String {
    let fake = FakeHub::intercepted(files(&[]), move |_, _| Some(answer.clone()), |_, _| None);
    let folder = tempfile::tempdir().unwrap();
    let token: &[(&str, &str)] = if token { &[("HF_TOKEN", "hf_x")] } else { &[] };
    let error = model(&hub_at(&fake.hub.address, folder.path(), token), "owner/name").unwrap_err();
    assert_eq!(fake.hub.requests().len(), 1, "{error}");
    error.to_string().replace(&fake.hub.address, "HUB")
}

#[test]
fn refusals_say_what_to_do() {
    let gated = || Answer::status(403).header("X-Error-Code", "GatedRepo");
    assert_eq!(
        message(gated(), false),
        "owner/name is gated; request access at HUB/owner/name, then set HF_TOKEN to a token of that account \
         (HUB/settings/tokens)"
    );
    assert_eq!(
        message(gated(), true),
        "owner/name is gated; request access at HUB/owner/name, for the account whose token is HF_TOKEN"
    );
    let missing = "there is no model owner/name at HUB, or it is private; check the spelling, or set HF_TOKEN to a token \
                   that may read it";
    assert_eq!(
        message(Answer::status(401).header("X-Error-Code", "RepoNotFound"), false),
        missing
    );
    assert_eq!(
        message(Answer::status(404).header("X-Error-Code", "RepoNotFound"), true),
        missing
    );
    assert_eq!(message(Answer::status(401), false), missing);
    assert_eq!(message(Answer::status(404), false), missing);
    for status in [401, 403] {
        assert_eq!(
            message(Answer::status(status), true),
            format!(
                "HUB answered {status} for owner/name: the token (HF_TOKEN) is not valid or may not read it; make one at \
                 HUB/settings/tokens"
            )
        );
    }
    assert_eq!(
        message(
            Answer::status(404).header("X-Error-Code", "RevisionNotFound"),
            false
        ),
        "owner/name has no revision `main`; HUB/owner/name/tree/main lists branches and tags"
    );
    assert_eq!(
        message(Answer::status(400).header("X-Error-Message", "a bad day"), false),
        "cannot ask HUB about owner/name: 127.0.0.1 answered 400 Bad Request (a bad day)"
    );
    assert_eq!(
        message(Answer::body("<html>a proxy</html>"), false),
        "HUB did not answer with a model's files: expected value at line 1 column 1"
    );
    assert_eq!(
        message(Answer::body(r#"{"sha": "../../x"}"#), false),
        "HUB did not answer with a model's files: `../../x` is not a commit"
    );
}

#[test]
fn what_a_repository_has_not() {
    let config = ("config.json", CONFIG.as_bytes());
    let index = "model.safetensors.index.json";
    let llava = br#"{"model_type": "llava"}"#;
    type Named<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Named<'_>, &str); 7] = [
        (
            &[("README.md", b"")],
            "owner/name has no config.json: it is not a checkpoint that transformers can load",
        ),
        (
            &[config, ("pytorch_model.bin", b"")],
            "has no weights as safetensors but .bin files; convert it",
        ),
        (
            &[config, ("model.Q4.gguf", b"")],
            "has no weights as safetensors but GGUF files; convert it",
        ),
        (
            &[config, (index, b"{}")],
            "has a malformed model.safetensors.index.json",
        ),
        (
            &[
                config,
                (index, br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#),
            ],
            "has a malformed model.safetensors.index.json",
        ),
        (
            &[
                config,
                (index, br#"{"weight_map": {"a": "model-1.safetensors"}}"#),
            ],
            "has no model-1.safetensors, which its model.safetensors.index.json names",
        ),
        (
            &[("config.json", llava), ("model.safetensors", b"gigabytes")],
            "llava",
        ),
    ];
    for (named, expected) in cases {
        let fake = FakeHub::start(files(named));
        let folder = tempfile::tempdir().unwrap();
        let error = model(&hub_of(&fake, folder.path()), "owner/name")
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(fake.store.requests().is_empty(), "{error}");
    }
    let fake = FakeHub::start(files(&[config]));
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_of(&fake, folder.path());
    let error = hub
        .snapshot(&id("owner/name"), None, Wanted::TOKENIZER, &mut |_| true)
        .unwrap_err();
    assert_eq!(error.to_string(), "owner/name has no tokenizer.json");
}

#[test]
fn a_server_that_names_a_file_out_of_the_cache() {
    let fake = FakeHub::intercepted(
        small_model(b"weights"),
        |request, _| {
            let head = request.method == "HEAD";
            head.then(|| {
                Answer::body("")
                    .header("ETag", "\"../../../../evil\"")
                    .header("Content-Length", "3")
            })
        },
        |_, _| None,
    );
    let folder = tempfile::tempdir().unwrap();
    let error = model(&hub_of(&fake, folder.path()), "owner/name")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("the server does not give its ETag"), "{error}");
}

#[test]
fn a_folder_comes_first_and_a_misspelt_one_is_named() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("recipe");
    fs::create_dir_all(base.join("runs/demo")).unwrap();
    assert_eq!(folder_or_hub("runs/demo", &base), None);
    assert_eq!(folder_or_hub("runs/demoo/step-1", &base), None);
    assert_eq!(folder_or_hub("hf://runs/demo", &base), Some(id("runs/demo")));
    let misspelt = folder_or_hub("runs/demoo", &base).unwrap();
    let hub = hub_of(&fake, folder.path());
    let look = |hub: &Hub, text: &str, id| fetched(hub, text, &base, id, None, Wanted::MODEL, &mut |_| true);
    let error = look(&hub, "runs/demoo", &misspelt).unwrap_err();
    let address = &fake.hub.address;
    assert_eq!(
        error.to_string(),
        format!(
            "`runs/demoo`: there is no folder {}; read as a Hub id: there is no model runs/demoo at {address}, or it is \
             private; check the spelling, or set HF_TOKEN to a token that may read it",
            base.join("runs/demoo").display()
        )
    );
    let offline = hub_at(address, folder.path(), &[("HF_HUB_OFFLINE", "1")]);
    let error = look(&offline, "runs/demoo", &misspelt).unwrap_err().to_string();
    assert!(
        error.starts_with("`runs/demoo`: there is no folder ") && error.contains("HF_HUB_OFFLINE is set"),
        "{error}"
    );
    let explicit = look(&hub, "hf://runs/demoo", &misspelt).unwrap_err();
    assert!(matches!(explicit, HubError::NoRepository { .. }), "{explicit}");
}

#[test]
fn a_cache_that_cannot_be_written_to() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = model(&hub_at(&fake.hub.address, &file, &[]), "owner/name").unwrap_err();
    assert!(
        matches!(&error, HubError::Files(FilesError::Io { action: "create", .. })),
        "{error}"
    );
    let nobody = smollm3_corpus::remote::RemoteClient::with_environment(crate::policy(), []).unwrap();
    assert_eq!(
        Hub::of(nobody).err().unwrap().to_string(),
        "there is no home folder to store models in; set HF_HOME"
    );
    let error = hub_at_error("not a url", folder.path());
    assert!(
        error.starts_with("HF_ENDPOINT `not a url` is not a URL"),
        "{error}"
    );
}

#[test]
fn a_password_in_the_endpoint_is_not_shown() {
    let fake = FakeHub::empty();
    let folder = tempfile::tempdir().unwrap();
    let address = fake.hub.address.replace("://", "://user:secret@");
    let error = model(&hub_at(&address, folder.path(), &[]), "owner/name").unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("owner/name at {},", fake.hub.address)),
        "{message}"
    );
}

fn hub_at_error(address: &str, folder: &Path) -> String {
    let environment = [("HF_ENDPOINT", address), ("HF_HOME", folder.to_str().unwrap())];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let remote =
        smollm3_corpus::remote::RemoteClient::with_environment(crate::policy(), environment).unwrap();
    Hub::of(remote).err().unwrap().to_string()
}
