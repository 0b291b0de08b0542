//! Loss by position, against log-softmax of the model's own logits.

#[path = "../../model/tests/tiny/mod.rs"]
mod tiny;

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use smollm3_corpus::{StoreWriter, TokenStore};
use smollm3_eval::{EvalError, loss_by_position};
use smollm3_kernels::{Documents, compiled_backends, device};
use smollm3_model::SmolLm3;
use tiny::{VOCABULARY, broken, model};

fn document(length: u32, seed: u32) -> Vec<u32> {
    (0..length)
        .map(|i| (i * i * 7 + i * seed + 3) % VOCABULARY)
        .collect()
}

/// −ln p of each token but the first.
fn losses(model: &SmolLm3, ids: &[u32], device: &Device) -> Vec<f64> {
    let row: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let row = Tensor::<2, Int>::from_data(TensorData::new(row, [1, ids.len()]), device);
    let logits = model.logits(row, &Documents::whole_rows(1, ids.len()));
    let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let rows = logits.chunks(VOCABULARY as usize).zip(&ids[1..]);
    rows.map(|(logits, next)| {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum.ln() - logits[*next as usize]
    })
    .collect()
}

fn store(folder: &Path, documents: &[Vec<u32>]) -> [TokenStore; 1] {
    let vocabulary = u64::from(VOCABULARY) + 1;
    let mut writer = StoreWriter::create(folder.join("0000.ds"), "test", vocabulary).unwrap();
    for ids in documents {
        writer.push_document(ids).unwrap();
    }
    writer.finish().unwrap();
    [TokenStore::open(folder).unwrap()]
}

#[test]
fn documents_are_chosen_before_they_are_read() {
    let [some, all] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let chosen = [document(40, 5), document(33, 11)];
    let mut beyond = document(33, 6);
    beyond[20] = VOCABULARY;
    // Of four, evenly spread: the first and the third.
    let four = [chosen[0].clone(), beyond, chosen[1].clone(), document(50, 13)];
    let (some, all) = (store(some.path(), &chosen), store(all.path(), &four));
    let device = device("flex", None).unwrap();
    let model = model(&device);
    let loss = |store: &[TokenStore], most| {
        loss_by_position(&model, store, &[8, 32], most, &device, &mut |_, _| Ok(()))
    };
    let found = loss(&all, 2).unwrap();
    assert_eq!(found[1].documents, 2);
    assert_eq!(found, loss(&some, 9).unwrap());
    let error = loss(&all, 9).unwrap_err();
    assert!(matches!(error, EvalError::OtherTokenizer { .. }), "{error}");
}

#[test]
fn the_same_long_documents_count_at_all_positions() {
    let folder = tempfile::tempdir().unwrap();
    let documents = [
        document(40, 5),
        document(32, 6),
        document(33, 11),
        document(10, 13),
    ];
    let store = store(folder.path(), &documents);
    for backend in compiled_backends() {
        let device = device(backend, None).unwrap();
        let model = model(&device);
        let found = loss_by_position(&model, &store, &[8, 32], 9, &device, &mut |_, _| Ok(())).unwrap();
        // 32 tokens to predict need 33: the first and the third.
        let expected: Vec<Vec<f64>> = [0, 2]
            .map(|i: usize| losses(&model, &documents[i][..33], &device))
            .to_vec();
        assert_eq!(found.len(), 2);
        for (part, span) in found.iter().zip([0..8, 8..32]) {
            assert_eq!((part.from, part.to, part.documents), (span.start, span.end, 2));
            let means: Vec<f64> = expected
                .iter()
                .map(|losses| losses[span.clone()].iter().sum::<f64>() / span.len() as f64)
                .collect();
            assert!(
                (part.loss - (means[0] + means[1]) / 2.0).abs() < 1e-5,
                "{backend}: {part:?}"
            );
            // Of two values: half their distance.
            assert!(
                (part.standard_error - (means[0] - means[1]).abs() / 2.0).abs() < 1e-5,
                "{backend}: {part:?}"
            );
        }
        let nan = loss_by_position(&broken(&device), &store, &[8, 32], 9, &device, &mut |_, _| Ok(()));
        assert!(
            matches!(nan, Err(EvalError::NotFinite { .. })),
            "{backend}: {nan:?}"
        );
        let none = loss_by_position(&model, &store, &[8, 50], 9, &device, &mut |_, _| Ok(()));
        assert!(none.unwrap().is_empty(), "no document is that long");
    }
}
