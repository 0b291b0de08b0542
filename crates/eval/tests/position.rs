//! Loss by position, against log-softmax of the model's own logits.

#[path = "../../model/tests/tiny/mod.rs"]
mod tiny;

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

#[test]
fn the_same_long_documents_count_at_all_positions() {
    let folder = tempfile::tempdir().unwrap();
    let documents = [
        document(40, 5),
        document(32, 6),
        document(33, 11),
        document(10, 13),
    ];
    let mut writer =
        StoreWriter::create(folder.path().join("0000.ds"), "test", u64::from(VOCABULARY)).unwrap();
    for ids in &documents {
        writer.push_document(ids).unwrap();
    }
    writer.finish().unwrap();
    let store = [TokenStore::open(folder.path()).unwrap()];
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
