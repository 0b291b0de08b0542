//! The models that a recipe names, and the commits that its run keeps.

use std::fs;
use std::path::Path;

use smollm3_hub::{Depth, Located, Pins, locate, read_pins, write_pins};
use smollm3_recipe::{Recipe, Tokenizer};

use crate::fake_hub::FakeHub;
use crate::{files, hub_of, small_model};

fn recipe(folder: &Path, checkpoint: &str) -> Recipe {
    let text = format!(
        r#"
[run]
name = "tiny"
seed = 1
output = "out"

[model]
checkpoint = "{checkpoint}"

[[stage]]
name = "sft"
kind = "sft"
template = "hf://owner/name"
optimizer = {{ learning_rate = 1e-3 }}
schedule = {{ kind = "constant" }}
epochs = 1
global_batch = "1 sequences"
micro_batch = "1 sequences"
sequence_length = 8
[[stage.data]]
name = "rows"
paths = ["rows.jsonl"]

[[stage]]
name = "apo"
kind = "apo"
from = "sft"
reference_from = "owner/name@main"
optimizer = {{ learning_rate = 1e-3 }}
schedule = {{ kind = "constant" }}
epochs = 1
global_batch = "1 pairs"
sequence_length = 8
[[stage.data]]
name = "pairs"
paths = ["pairs.jsonl"]
"#
    );
    fs::write(folder.join("recipe.toml"), text).unwrap();
    Recipe::load(folder, &[]).unwrap()
}

#[test]
fn models_are_located_as_deep_as_is_needed_and_pinned() {
    let fake = FakeHub::start(small_model(b"weights"));
    let first = format!("{:040x}", 0xabc0);
    let folder = tempfile::tempdir().unwrap();
    let mut found = recipe(folder.path(), "owner/name");
    assert_eq!(found.tokenizer, Tokenizer::Pretrained("owner/name".to_owned()));
    assert!(found.architecture().is_err());
    let (mut said, mut bytes) = (Vec::new(), 0);
    let mut look = |found: &mut Recipe, depth, pins: &Pins| {
        let hub = || Ok(hub_of(&fake, folder.path()));
        locate(
            found,
            depth,
            pins,
            &hub,
            &mut |_, progress| {
                bytes = progress.bytes;
                true
            },
            &mut |text, located| said.push((text.to_owned(), matches!(located, Located::Hub(_)))),
        )
        .unwrap()
    };
    let pins = look(&mut found, Depth::Config, &Pins::new());
    assert_eq!(pins, Pins::from([("owner/name".to_owned(), first.clone())]));
    assert_eq!(found.architecture().unwrap().vocab_size, 8);
    assert!(fake.store.requests().is_empty());

    fake.commit("main", small_model(b"others"));
    let pins = look(&mut found, Depth::Text, &pins);
    assert_eq!(pins["owner/name"], first, "what is on record holds");
    assert_eq!(pins.len(), 1, "all spellings of a model are of one commit");
    assert_eq!(
        found.hub_folders["hf://owner/name"],
        found.hub_folders["owner/name"]
    );
    assert!(fake.store.requests().is_empty());
    look(&mut found, Depth::Weights, &pins);
    let reference = found.hub_folders["owner/name@main"].join("model.safetensors");
    assert_eq!(fs::read(reference).unwrap(), b"weights");
    assert_eq!(
        fs::read(found.hub_folders["owner/name"].join("model.safetensors")).unwrap(),
        b"weights"
    );
    assert_eq!(said.iter().filter(|(_, hub)| *hub).count(), said.len());

    let run = folder.path().join("out");
    write_pins(&run, &Pins::new()).unwrap();
    assert!(!run.exists());
    write_pins(&run, &pins).unwrap();
    assert_eq!(read_pins(&run).unwrap(), pins);
    fs::write(run.join("hub.json"), "{").unwrap();
    let error = read_pins(&run).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read `") && error.contains("hub.json`: "),
        "{error}"
    );
}

#[test]
fn a_folder_of_the_recipe_comes_first_and_is_said() {
    let fake = FakeHub::start(small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let near = folder.path().join("near/by");
    fs::create_dir_all(&near).unwrap();
    fs::write(near.join("config.json"), crate::CONFIG).unwrap();
    let mut found = recipe(folder.path(), "near/by");
    // The other stage is compared with a model of the Hub.
    found.stages.truncate(1);
    let mut said = Vec::new();
    let pins = locate(
        &mut found,
        Depth::Config,
        &Pins::new(),
        &|| Ok(hub_of(&fake, folder.path())),
        &mut |_, _| true,
        &mut |text, located| said.push((text.to_owned(), located.clone())),
    );
    assert_eq!(pins.unwrap(), Pins::new());
    assert_eq!(said, [("near/by".to_owned(), Located::Folder(near))]);
    assert_eq!(found.architecture().unwrap().vocab_size, 8);
    assert!(fake.hub.requests().is_empty());

    let mut misspelt = recipe(folder.path(), "near/bye");
    let hub = || Ok(hub_of(&fake, folder.path()));
    let error = locate(
        &mut misspelt,
        Depth::Config,
        &Pins::new(),
        &hub,
        &mut |_, _| true,
        &mut |_, _| (),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("`model.checkpoint`: `near/bye`: there is no folder ")
            && error.contains("there is no model near/bye at"),
        "{error}"
    );
}

#[test]
fn an_adapter_of_the_hub_brings_its_base() {
    let adapter = |more: &str| {
        let config = format!(
            r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "owner/name", "revision": "base"{more}}}"#
        );
        files(&[
            ("adapter_config.json", config.as_bytes()),
            ("adapter_model.safetensors", b"factors"),
            ("README.md", b"-"),
        ])
    };
    let fake = FakeHub::start(adapter(""));
    let base = fake.commit("base", small_model(b"weights"));
    let folder = tempfile::tempdir().unwrap();
    let look = |depth, hub: &FakeHub| {
        recipe(folder.path(), "owner/name");
        let file = folder.path().join("recipe.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            &file,
            text.replace("template = \"hf://owner/name\"", "template = \"chatml-masked\""),
        )
        .unwrap();
        let mut found = Recipe::load(folder.path(), &[]).unwrap();
        let home = folder.path().join("home");
        let opened = || Ok(hub_of(hub, &home));
        let report = &mut |_: &str, _| true;
        locate(&mut found, depth, &Pins::new(), &opened, report, &mut |_, _| {}).map(|pins| (found, pins))
    };
    let (found, pins) = look(Depth::Config, &fake).unwrap();
    assert!(!fake.asked().iter().any(|path| path.contains("safetensors")));
    // Its architecture is that of the base.
    assert_eq!(found.architecture().unwrap().vocab_size, 8);
    assert_eq!(pins.get("owner/name@base"), Some(&base));
    for _ in 0..2 {
        let (found, pins) = look(Depth::Weights, &fake).unwrap();
        assert_eq!(pins.len(), 2);
        let folders = &found.adapters["owner/name"];
        assert_eq!(
            fs::read(folders.adapter.join("adapter_model.safetensors")).unwrap(),
            b"factors"
        );
        assert_eq!(
            fs::read(folders.base.join("model.safetensors")).unwrap(),
            b"weights"
        );
        assert_eq!(found.hub_folders["owner/name"], folders.base);
    }
    assert_eq!(
        fake.store.requests().len(),
        2,
        "the second time nothing is fetched"
    );

    let dora = FakeHub::start(adapter(", \"use_dora\": true"));
    fs::remove_dir_all(folder.path().join("home")).unwrap();
    let error = look(Depth::Config, &dora).unwrap_err().to_string();
    assert!(
        error.contains("`model.checkpoint`") && error.contains("`use_dora`"),
        "{error}"
    );
    let mut bare = adapter("");
    bare.remove("adapter_model.safetensors");
    fs::remove_dir_all(folder.path().join("home")).unwrap();
    let error = look(Depth::Weights, &FakeHub::start(bare))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is an adapter without adapter_model.safetensors"),
        "{error}"
    );
}
