use std::fs;

use proptest::prelude::*;
use serde_json::json;
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::tokenizer::{SPECIAL_TOKENS, SpecialTokens};
use smollm3_corpus::{Numbers, Tokenizer};

use crate::fixtures::{datatrove, tokenizer};

fn texts() -> Vec<String> {
    (0..200)
        .map(|index| Arithmetic::new(1, 200).text(index))
        .collect()
}

#[test]
fn training_is_deterministic_and_exact_in_size() {
    let one = Tokenizer::train(texts().iter(), 400).unwrap();
    let two = Tokenizer::train(texts().iter(), 400).unwrap();
    assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let three = single.install(|| Tokenizer::train(texts().iter(), 400).unwrap());
    assert_eq!(one.fingerprint().unwrap(), three.fingerprint().unwrap());

    let info = one.info();
    assert_eq!(info.vocab_size, 400);
    assert_eq!(
        [
            info.begin_of_text,
            Some(info.end_of_text),
            info.im_start,
            info.im_end,
            info.think,
            info.end_think
        ],
        [394, 395, 396, 397, 398, 399].map(Some)
    );
}

#[test]
fn numbers_are_cut_as_asked() {
    let numbers = |numbers| {
        let trained = Tokenizer::train_with(texts().iter(), 400, numbers).unwrap();
        assert_eq!(trained.slow_because(), None);
        let parts = |text: &str| -> Vec<String> {
            let ids = trained.encode(text).unwrap();
            ids.iter()
                .map(|id| trained.decode(&[*id], false).unwrap())
                .collect()
        };
        let vocabulary = trained.inner().get_vocab(true);
        let is_number = |entry: &&String| entry.bytes().all(|byte| byte.is_ascii_digit());
        let longest = vocabulary.keys().filter(is_number).map(String::len).max();
        (parts("12 + 305"), longest.unwrap())
    };
    let (single, longest) = numbers(Numbers::SingleDigits);
    assert_eq!(longest, 1);
    let digits: Vec<_> = single.iter().filter(|part| part.trim().len() == 1).collect();
    assert_eq!(
        digits.len(),
        single.iter().filter(|part| !part.trim().is_empty()).count()
    );
    assert_eq!(single.concat(), "12 + 305");
    let (whole, longest) = numbers(Numbers::UpToThreeDigits);
    assert!(longest > 1 && whole.len() < single.len(), "{whole:?}");
    assert_eq!(whole.concat(), "12 + 305");
}

#[test]
fn it_is_saved_whole_and_loaded_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let trained = Tokenizer::train(texts().iter(), 400).unwrap();
    let path = folder.path().join("deep/tokenizer.json");
    trained.save(&path).unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let loaded = Tokenizer::load(folder.path().join("deep")).unwrap();
    assert_eq!(loaded.to_json().unwrap(), trained.to_json().unwrap());
    assert_eq!(loaded.info(), trained.info());
    let text = "What is 12 + 30?\nDas Maß: 5 × 7 😀";
    assert_eq!(loaded.encode(text).unwrap(), trained.encode(text).unwrap());
}

#[test]
fn impossible_sizes_are_refused() {
    let error = Tokenizer::train(texts().iter(), 261).unwrap_err().to_string();
    assert!(error.contains("must be at least 262"), "{error}");
    assert_eq!(
        Tokenizer::train(texts().iter(), 262).unwrap().info().vocab_size,
        262
    );
    let error = Tokenizer::train(["only a few words"].iter(), 5_000)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not 5000; give more text or ask for"), "{error}");
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(
        Tokenizer::load(&path)
            .unwrap_err()
            .to_string()
            .contains("tokenizer.json")
    );
    fs::write(&path, "{\"model\": 3}").unwrap();
    let error = Tokenizer::load(&path).unwrap_err().to_string();
    assert!(error.contains("not a tokenizer.json"), "{error}");

    let json = fs::read_to_string(datatrove("tokenizer.json")).unwrap();
    fs::write(&path, json.replace("<|end_of_text|>", "<|the end|>")).unwrap();
    let error = Tokenizer::load(&path).unwrap_err().to_string();
    assert!(error.contains("no token ends a document"), "{error}");
}

#[test]
fn ids_far_beyond_the_number_of_entries_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let json = fs::read_to_string(datatrove("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut load = |id: u32| {
        json["model"]["vocab"]["far"] = id.into();
        fs::write(&path, json.to_string()).unwrap();
        Tokenizer::load(&path)
    };
    // 1018 learned entries, 6 added ones and this one.
    let bound = 2 * 1025 + 100_000;
    for id in [bound, 50_000_000, u32::MAX] {
        let error = load(id).unwrap_err().to_string();
        let name = path.to_str().unwrap();
        assert!(
            error.contains(name) && error.contains(&format!("id is {id}")),
            "{error}"
        );
    }
    assert_eq!(load(bound - 1).unwrap().info().vocab_size, bound);
}

#[test]
fn a_document_cannot_end_itself_unless_asked() {
    let tokenizer = tokenizer();
    let info = *tokenizer.info();
    let text = "a<|end_of_text|>b<|im_start|>";
    let plain = tokenizer.documents(SpecialTokens::Text).encode(text).unwrap();
    assert_eq!(plain.iter().filter(|id| **id == info.end_of_text).count(), 1);
    assert_eq!(plain.last(), Some(&info.end_of_text));
    assert!(!plain.contains(&info.im_start.unwrap()));
    let (_, body) = plain.split_last().unwrap();
    assert_eq!(tokenizer.decode(body, true).unwrap(), text);

    let parsed = tokenizer.documents(SpecialTokens::Parsed).encode(text).unwrap();
    assert_eq!(parsed.iter().filter(|id| **id == info.end_of_text).count(), 2);
    assert_eq!(
        tokenizer.encode("<|im_start|>").unwrap(),
        [info.im_start.unwrap()]
    );
    assert_eq!(tokenizer.encode("").unwrap(), [] as [u32; 0]);
}

#[test]
fn only_the_spellings_that_are_meant_are_special_tokens() {
    let tokenizer = tokenizer();
    let end = tokenizer.info().im_end.unwrap();
    let text = "é <|im_end|>b<|im_end|> c";
    let (one, other) = (3..13, 14..24);
    let both = vec![one, other.clone()];
    assert_eq!(tokenizer.special_in(text), both);
    for (special, ends) in [
        (None, both),
        (Some(vec![other.clone()]), vec![other]),
        (Some(vec![]), vec![]),
    ] {
        let tokens = tokenizer.encode_spans(text, special.as_deref()).unwrap();
        let found = tokens.iter().filter(|token| token.id == end);
        assert_eq!(found.map(|token| token.bytes.clone()).collect::<Vec<_>>(), ends);
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        let mut at = 0;
        for token in &tokens {
            assert!(token.bytes.start <= at && at <= token.bytes.end, "{tokens:?}");
            at = token.bytes.end;
        }
        assert_eq!(at, text.len());
    }
    assert_eq!(tokenizer.with_added(vec![1, 2]).unwrap(), [1, 2]);
}

/// Tokens that are added to such a vocabulary are numbered from the number of entries on.
#[test]
fn text_is_no_special_token_where_ids_have_holes() {
    let json = fs::read_to_string(datatrove("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let text = "far <|im_end|>";
    for far in 1025_u32..1035 {
        json["model"]["vocab"]["far"] = far.into();
        let tokenizer = Tokenizer::from_json("holes", json.to_string().as_bytes()).unwrap();
        let end = tokenizer.info().im_end.unwrap();
        let ids = tokenizer.encode_text(text).unwrap();
        assert!(ids[0] == far && !ids.contains(&end), "{far}: {ids:?}");
        let special = tokenizer.special_in(text);
        let tokens = tokenizer.encode_spans(text, Some(&special)).unwrap();
        assert_eq!((tokens[0].id, tokens.last().unwrap().id), (far, end));
    }
}

#[test]
fn thinking_marks_stay_in_decoded_text_and_special_tokens_do_not() {
    let tokenizer = Tokenizer::train(texts().iter(), 300).unwrap();
    let text = format!("{}<think>2 + 2</think>4", SPECIAL_TOKENS[2]);
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "<think>2 + 2</think>4");
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
}

proptest! {
    #[test]
    fn any_text_survives(text in any::<String>()) {
        let tokenizer = tokenizer();
        let ids = tokenizer.documents(SpecialTokens::Text).encode(&text).unwrap();
        let (end, body) = ids.split_last().unwrap();
        prop_assert_eq!(*end, tokenizer.info().end_of_text);
        prop_assert!(body.iter().all(|id| *id < tokenizer.info().vocab_size));
        prop_assert_eq!(tokenizer.decode(body, false).unwrap(), text);
    }
}

#[test]
fn prompts_begin_as_the_files_of_the_tokenizer_say() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Tokenizer::train(texts().iter(), 400).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&plain.to_json().unwrap()).unwrap();
    let begin = plain.info().begin_of_text.unwrap();
    let text = plain.encode("Once").unwrap();
    let with = [vec![begin], text.clone()].concat();
    let template = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [begin], "tokens": ["<|begin_of_text|>"]}},
    });
    let token = r#""bos_token": {"content": "<|begin_of_text|>", "special": true}"#;
    for (adds, config, expected) in [
        (false, None, &text),
        (true, None, &with),
        (
            false,
            Some(format!("{{{token}, \"add_bos_token\": true}}")),
            &with,
        ),
        (true, Some(format!("{{{token}, \"add_bos_token\": true}}")), &with),
        (
            true,
            Some(format!("{{{token}, \"add_bos_token\": false}}")),
            &text,
        ),
        (true, Some(format!("{{{token}}}")), &with),
        (
            false,
            Some(format!("{{{token}, \"add_eos_token\": false}}")),
            &text,
        ),
    ] {
        json["post_processor"] = if adds {
            template.clone()
        } else {
            serde_json::Value::Null
        };
        fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        let file = folder.path().join("tokenizer_config.json");
        let _ = fs::remove_file(&file);
        if let Some(config) = &config {
            fs::write(&file, config).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(&tokenizer.prompt("Once").unwrap(), expected, "{adds} {config:?}");
        let again = tempfile::tempdir().unwrap();
        tokenizer.save(again.path().join("tokenizer.json")).unwrap();
        let inputs = &tokenizer.config()["model_input_names"];
        assert_eq!(*inputs, serde_json::json!(["input_ids", "attention_mask"]));
        let written = tokenizer.config().to_string();
        fs::write(again.path().join("tokenizer_config.json"), written).unwrap();
        let again = Tokenizer::load(again.path()).unwrap();
        assert_eq!(&again.prompt("Once").unwrap(), expected, "written: {config:?}");
        // A text that spells the token gets no second one by the configuration.
        let spelled = tokenizer.prompt("<|begin_of_text|>Once").unwrap();
        assert!(adds || spelled == with, "{adds} {config:?}: {spelled:?}");
    }
    let config = |text: &str| fs::write(folder.path().join("tokenizer_config.json"), text).unwrap();
    for (text, words) in [
        (r#"{"add_eos_token": true}"#, "add_eos_token"),
        (
            r#"{"add_bos_token": true, "bos_token": "<nowhere>"}"#,
            "bos_token is no token",
        ),
        ("{", "tokenizer_config.json"),
    ] {
        config(text);
        let message = Tokenizer::load(folder.path()).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

/// Each case as transformers 4.57 does it (`AutoTokenizer`): whether the text begins with a space.
#[test]
fn texts_begin_with_a_space_where_the_files_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/tokenizer/tokenizer.json"
    );
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    let level = |space: bool| serde_json::json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true});
    let sequence = |space: bool| serde_json::json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, level(space)]});
    let fast = "PreTrainedTokenizerFast";
    // The class and what the file says, if there is one.
    for (pre_tokenizer, config, space) in [
        (level(true), None, true),
        (level(true), Some((fast, None)), false),
        (level(true), Some(("LlamaTokenizer", None)), true),
        (level(true), Some((fast, Some(json!(null)))), true),
        (level(true), Some((fast, Some(json!(false)))), false),
        (level(false), Some((fast, Some(json!(true)))), true),
        (level(false), Some((fast, None)), false),
        (sequence(true), Some((fast, Some(json!(false)))), true),
        (sequence(false), Some((fast, Some(json!(true)))), false),
    ] {
        json["pre_tokenizer"] = pre_tokenizer;
        fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        let file = folder.path().join("tokenizer_config.json");
        let _ = fs::remove_file(&file);
        if let Some((class, says)) = &config {
            let mut config = json!({"tokenizer_class": class});
            if let Some(space) = says {
                config["add_prefix_space"] = space.clone();
            }
            fs::write(&file, config.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let first = |tokenizer: &Tokenizer| {
            let ids = tokenizer.encode_text("Once").unwrap();
            tokenizer.inner().id_to_token(ids[0]).unwrap().starts_with('Ġ')
        };
        assert_eq!(first(&tokenizer), space, "{config:?}");
        // Written and read again it is the same.
        let again = tempfile::tempdir().unwrap();
        tokenizer.save(again.path().join("tokenizer.json")).unwrap();
        let config = again.path().join("tokenizer_config.json");
        fs::write(config, tokenizer.config().to_string()).unwrap();
        let again = Tokenizer::load(again.path()).unwrap();
        assert_eq!(first(&again), space);
        assert_eq!(again.fingerprint().unwrap(), tokenizer.fingerprint().unwrap());
    }
}

/// Each case as transformers 4.57 does it: the tokens of a text.
#[test]
fn tokens_that_only_the_configuration_names_are_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Tokenizer::train(texts().iter(), 400).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&plain.to_json().unwrap()).unwrap();
    let vocabulary = plain.info().vocab_size;
    let [think, end_think] = [plain.info().think, plain.info().end_think].map(Option::unwrap);
    // The last entry is known to the configuration alone.
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.retain(|token| token["content"] != "</think>");
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let flags = |text: &str, strips: bool| json!({"content": text, "special": false, "normalized": false, "single_word": false, "lstrip": strips, "rstrip": strips});
    let text = "Once <think> </think><image>";
    let ids = |config: serde_json::Value, map: Option<serde_json::Value>| {
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let file = folder.path().join("special_tokens_map.json");
        let _ = fs::remove_file(&file);
        if let Some(map) = map {
            fs::write(&file, map.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        (tokenizer.encode(text).unwrap(), tokenizer.info().vocab_size)
    };
    let bare = Tokenizer::from_json("bare", json.to_string().as_bytes()).unwrap();
    let spelled = |text: &str| bare.encode(text).unwrap();
    let think_after = |text: &str| [spelled(text), vec![think]].concat();
    let nothing = [think_after("Once "), spelled(" </think><image>")].concat();
    assert_eq!(ids(json!({}), None), (nothing.clone(), vocabulary - 1));
    let decoder = json!({"added_tokens_decoder": {end_think.to_string(): flags("</think>", false)}});
    let with_end = [
        think_after("Once "),
        spelled(" "),
        vec![end_think],
        spelled("<image>"),
    ]
    .concat();
    assert_eq!(ids(decoder, None), (with_end, vocabulary));
    // Other flags replace those of `tokenizer.json`.
    let strips = json!({"added_tokens_decoder": {think.to_string(): flags("<think>", true)}});
    let stripped = [think_after("Once"), spelled("</think><image>")].concat();
    assert_eq!(ids(strips, None), (stripped, vocabulary - 1));
    let further = [think_after("Once "), spelled(" </think>"), vec![vocabulary - 1]].concat();
    for config in [
        json!({"additional_special_tokens": ["<think>", "<image>"]}),
        json!({"extra_special_tokens": {"image_token": "<image>"}}),
    ] {
        assert_eq!(
            ids(config.clone(), None),
            (further.clone(), vocabulary),
            "{config}"
        );
    }
    // The older file counts where the configuration has no list of its own.
    let map = Some(json!({"additional_special_tokens": [{"content": "<image>", "lstrip": false}]}));
    assert_eq!(ids(json!({}), map.clone()), (further, vocabulary));
    assert_eq!(ids(json!({"added_tokens_decoder": {}}), map).0, nothing);
    // A role of a text without an entry adds none.
    assert_eq!(
        ids(json!({"pad_token": "<pad>", "eos_token": "</s>"}), None).0,
        nothing
    );
}

#[test]
fn settings_for_others_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Tokenizer::train(texts().iter(), 400).unwrap();
    plain.save(folder.path().join("tokenizer.json")).unwrap();
    let config = json!({
        "tokenizer_class": "GPT2Tokenizer", "model_max_length": 8192, "padding_side": "left", "chat_template": "x",
        "auto_map": {"AutoTokenizer": "code.Class"}, "from_slow": true, "mask_token": "<nowhere>", "eos_token": "<|im_end|>", "unk_token": "<|end_of_text|>",
    });
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let map = json!({"pad_token": {"content": "<|im_end|>", "lstrip": false}, "unk_token": "<|im_start|>"});
    fs::write(folder.path().join("special_tokens_map.json"), map.to_string()).unwrap();
    let mut expected = plain.config();
    for (key, value) in [
        ("model_max_length", json!(8192)),
        ("padding_side", json!("left")),
        ("pad_token", json!("<|im_end|>")),
        ("unk_token", json!("<|im_start|>")),
    ] {
        expected[key] = value;
    }
    assert_eq!(Tokenizer::load(folder.path()).unwrap().config(), expected);
}

#[test]
fn merges_that_are_left_out_in_training_are_made_here() {
    let plain = Tokenizer::train(texts().iter(), 400).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&plain.to_json().unwrap()).unwrap();
    json["model"]["dropout"] = json!(0.9);
    let found = Tokenizer::from_json("x", json.to_string().as_bytes()).unwrap();
    assert_eq!(found.to_json().unwrap(), plain.to_json().unwrap());
    assert_eq!(
        found.encode(&texts()[0]).unwrap(),
        plain.encode(&texts()[0]).unwrap()
    );
}
