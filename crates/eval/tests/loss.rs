//! Loss on text, against log-softmax of the model's own logits.

mod checkpoint;

use std::fs;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use checkpoint::{checkpoint, damage, open};
use serde_json::json;
use smollm3_corpus::shards::LocalShards;
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::tokenizer::SpecialTokens;
use smollm3_corpus::{StoreWriter, TokenStore};
use smollm3_eval::{DocumentLoss, EvalError, ItemLog, LossSettings, LossSource, source_losses, text_loss};
use smollm3_inference::TextModel;
use smollm3_kernels::{Documents, compiled_backends};

fn texts() -> Vec<String> {
    let texts = Arithmetic::new(5, 60);
    (0..9)
        .map(|i| (0..=i % 4).map(|part| texts.text(10 * i + part)).collect())
        .collect()
}

fn text_source(folder: &Path, texts: &[String]) -> LossSource {
    let path = folder.join("text.jsonl");
    let lines: String = texts
        .iter()
        .map(|text| json!({"body": text}).to_string() + "\n")
        .collect();
    fs::write(&path, lines).unwrap();
    LossSource::Text {
        files: LocalShards::find("t", &[path.to_str().unwrap()]).unwrap(),
        column: "body".to_owned(),
    }
}

fn measured(model: &TextModel, source: LossSource, settings: LossSettings) -> Vec<DocumentLoss> {
    let mut log = ItemLog::in_memory();
    text_loss(
        model,
        &[("x".to_owned(), source)],
        settings,
        &mut log,
        &mut |_, _| Ok(()),
    )
    .unwrap();
    log.records().values().cloned().collect()
}

/// Σ −ln p of every token but the first, in pieces of `length` inputs that see nothing of one another.
fn nats(model: &TextModel, ids: &[u32], length: usize) -> f64 {
    let device = model.model.head().device();
    let vocab_size = model.config.vocab_size;
    let mut nats = 0.0;
    for (piece, targets) in ids[..ids.len() - 1].chunks(length).zip(ids[1..].chunks(length)) {
        let row: Vec<i32> = piece.iter().map(|id| *id as i32).collect();
        let row = Tensor::<2, Int>::from_data(TensorData::new(row, [1, piece.len()]), &device);
        let logits = model.model.logits(row, &Documents::whole_rows(1, piece.len()));
        let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
        for (logits, target) in logits.chunks(vocab_size).zip(targets) {
            nats += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[*target as usize];
        }
    }
    nats
}

#[test]
fn text_and_its_tokens_have_the_loss_of_their_logits() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let texts = texts();
    for backend in compiled_backends() {
        let model = open(&path, backend);
        let encoder = model.tokenizer.documents(SpecialTokens::Text);
        let documents: Vec<Vec<u32>> = texts.iter().map(|text| encoder.encode(text).unwrap()).collect();
        let store = folder.path().join(format!("store-{backend}"));
        let mut writer = StoreWriter::create(store.join("0000.ds"), "test", 512).unwrap();
        documents
            .iter()
            .for_each(|ids| writer.push_document(ids).unwrap());
        writer.finish().unwrap();
        // The fixture's context is 128; pieces of 40 cut most documents.
        for (length, tokens_at_once) in [(None, 300), (Some(40), 100), (Some(40), 1)] {
            let settings = LossSettings {
                limit: None,
                length,
                tokens_at_once,
            };
            let of_text = measured(&model, text_source(folder.path(), &texts), settings);
            let of_store = measured(
                &model,
                LossSource::Store(TokenStore::open(&store).unwrap()),
                settings,
            );
            assert_eq!(of_text, of_store);
            for (found, ids) in of_text.iter().zip(&documents) {
                let expected = nats(&model, ids, length.unwrap_or(128));
                assert!((found.nats - expected).abs() < 1e-3, "{found:?} {expected}");
                assert_eq!(found.tokens, ids.len() as u64 - 1);
                // All bytes but those of the first token, which is given; the end of text stands for none.
                let given = model.tokenizer.decode(&ids[..1], false).unwrap().len();
                let text = model.tokenizer.decode(ids, true).unwrap();
                assert_eq!(found.bytes, (text.len() - given) as u64);
            }
        }
    }
}

#[test]
fn losses_are_summed_by_source() {
    let document = |source: &str, document, nats, tokens, bytes| DocumentLoss {
        source: source.to_owned(),
        document,
        nats,
        tokens,
        bytes,
    };
    let records = [
        document("a", 0, 6.0, 2, 4),
        document("b", 0, 1.0, 1, 1),
        document("a", 1, 2.0, 2, 12),
    ];
    let found = source_losses(&records);
    let [a, b] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (a.source.as_str(), a.documents, a.tokens, a.bytes),
        ("a", 2, 4, 16)
    );
    assert_eq!((a.nats_per_token.value, b.nats_per_token.value), (2.0, 1.0));
    assert!((a.bits_per_byte.value - 0.5 / std::f64::consts::LN_2).abs() < 1e-12);
    assert!((a.perplexity - 2.0_f64.exp()).abs() < 1e-12);
    // Residuals 2 and −2: √(8 · 2/1) / 4.
    assert_eq!(
        (a.nats_per_token.standard_error, b.nats_per_token.standard_error),
        (Some(1.0), None)
    );
}

#[test]
fn a_stopped_measurement_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let settings = LossSettings {
        limit: Some(7),
        length: None,
        tokens_at_once: 150,
    };
    let whole = measured(&model, text_source(folder.path(), &texts()), settings);
    assert_eq!(whole.len(), 7);
    let out = folder.path().join("out");
    let sources = [("x".to_owned(), text_source(folder.path(), &texts()))];
    let mut log = ItemLog::open(&out, &serde_json::Map::new()).unwrap();
    let stopped = text_loss(&model, &sources, settings, &mut log, &mut |done, total| {
        assert_eq!(total, 7);
        match done < 2 {
            true => Ok(()),
            false => Err(EvalError::Interrupted { kept: true }),
        }
    });
    assert!(stopped.is_err());
    drop(log);
    let mut log = ItemLog::open(&out, &serde_json::Map::new()).unwrap();
    let before = log.records().len();
    assert!((1..7).contains(&before), "{before}");
    text_loss(&model, &sources, settings, &mut log, &mut |_, _| Ok(())).unwrap();
    let found: Vec<DocumentLoss> = log.records().values().cloned().collect();
    assert_eq!(found.len(), 7);
    for (found, whole) in found.iter().zip(&whole) {
        assert!((found.nats - whole.nats).abs() < 1e-4);
        assert_eq!(
            (found.document, found.tokens, found.bytes),
            (whole.document, whole.tokens, whole.bytes)
        );
    }
}

#[test]
fn a_model_with_a_nan_has_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    damage(&path);
    for backend in compiled_backends() {
        let model = open(&path, backend);
        let mut log = ItemLog::in_memory();
        let sources = [("x".to_owned(), text_source(folder.path(), &texts()))];
        let settings = LossSettings {
            limit: None,
            length: None,
            tokens_at_once: 100,
        };
        let refused = text_loss(&model, &sources, settings, &mut log, &mut |_, _| Ok(())).unwrap_err();
        assert!(matches!(refused, EvalError::NotFinite { .. }), "{refused}");
        assert!(
            refused.to_string().contains("document 1 of x is NaN"),
            "{refused}"
        );
        assert!(log.records().is_empty());
    }
}

#[test]
fn broken_sources_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let settings = LossSettings {
        limit: None,
        length: None,
        tokens_at_once: 100,
    };
    let refused = |source: LossSource| {
        let mut log = ItemLog::in_memory();
        let sources = [("x".to_owned(), source)];
        text_loss(&model, &sources, settings, &mut log, &mut |_, _| Ok(()))
            .unwrap_err()
            .to_string()
    };
    let store = folder.path().join("store");
    let mut writer = StoreWriter::create(store.join("0000.ds"), "test", 1000).unwrap();
    writer.push_document(&[1, 2, 700, 3]).unwrap();
    writer.finish().unwrap();
    let error = refused(LossSource::Store(TokenStore::open(&store).unwrap()));
    assert!(error.contains("700") && error.contains("512"), "{error}");
    let path = folder.path().join("bad.jsonl");
    fs::write(&path, "{\"text\":\"a b\"}\n{\"body\":\"a\"}\n").unwrap();
    let files = LocalShards::find("t", &[path.to_str().unwrap()]).unwrap();
    let error = refused(LossSource::Text {
        files,
        column: "text".to_owned(),
    });
    assert!(error.contains("line 2") && error.contains("`text`"), "{error}");
}
