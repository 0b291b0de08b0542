//! How probable texts are, against log-softmax of the model's own logits, however they are packed.

#[path = "../../model/tests/tiny/mod.rs"]
mod tiny;

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};
use proptest::prelude::*;
use smollm3_inference::{TextScore, TokenScore, score};
use smollm3_kernels::{Documents, compiled_backends, device};
use smollm3_model::SmolLm3;
use tiny::{VOCABULARY, broken, model};

/// The model's scores after each token.
fn logits(model: &SmolLm3, ids: &[u32]) -> Vec<Vec<f32>> {
    let row: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let row = Tensor::<2, Int>::from_data(TensorData::new(row, [1, ids.len()]), &model.head().device());
    let logits = model.logits(row, &Documents::whole_rows(1, ids.len()));
    let logits: Vec<f32> = logits.into_data().iter().collect();
    logits.chunks(VOCABULARY as usize).map(<[f32]>::to_vec).collect()
}

fn scored(model: &SmolLm3, texts: &[Vec<u32>], top: usize) -> Vec<TextScore> {
    let mut found = Vec::new();
    score(model, texts, top, |index, scored| {
        assert_eq!(index, found.len());
        found.push(scored);
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// Whether two scores are the same up to `tolerance`; of tokens that are as good as equal either may come first.
fn is_close(a: &TokenScore, b: &TokenScore, tolerance: f32) -> bool {
    let close = |a: f32, b: f32| (a - b).abs() < tolerance;
    let same_top = a.top.iter().zip(&b.top).all(|(a, b)| close(a.1, b.1));
    close(a.log_prob, b.log_prob) && a.top.len() == b.top.len() && same_top
}

/// Another row is summed in another order: this model's logits, up to 11, then differ by up to 2.6e-5, whoever asks.
const OTHER_ROW: f32 = 5e-5;
/// Of the same row only log-softmax is computed in another way.
const SAME_ROW: f32 = 3e-6;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn texts_that_share_a_row_are_scored_as_if_alone(
        texts in prop::collection::vec(prop::collection::vec(0..VOCABULARY, 1..60), 1..70),
        top in 0usize..4,
    ) {
        for backend in compiled_backends() {
            let model = model(&device(backend, None).unwrap());
            let found = scored(&model, &texts, top);
            prop_assert_eq!(found.len(), texts.len());
            for (text, found) in texts.iter().zip(&found) {
                let logits = logits(&model, text);
                let alone = &scored(&model, std::slice::from_ref(text), top)[0];
                prop_assert_eq!((found.tokens.len(), alone.tokens.len()), (text.len() - 1, text.len() - 1));
                for (at, found) in found.tokens.iter().enumerate() {
                    let expected = TokenScore::of(text[at + 1], &logits[at], top);
                    prop_assert!(is_close(found, &expected, OTHER_ROW), "{}: {:?} instead of {:?}", backend, found, expected);
                    let alone = &alone.tokens[at];
                    prop_assert!(is_close(alone, &expected, SAME_ROW), "{}: {:?} instead of {:?}", backend, alone, expected);
                    for (token, log_prob) in &alone.top {
                        let itself = TokenScore::of(*token, &logits[at], 0).log_prob;
                        prop_assert!((itself - log_prob).abs() < SAME_ROW);
                    }
                }
                let last = alone.next.iter().zip(&logits[text.len() - 1]);
                prop_assert!(last.into_iter().all(|(a, b)| (a - b).abs() < SAME_ROW));
                let next = found.next.iter().zip(&alone.next);
                prop_assert!(found.next.len() == alone.next.len() && next.into_iter().all(|(a, b)| (a - b).abs() < OTHER_ROW));
            }
        }
    }

    #[test]
    fn a_token_is_as_probable_as_its_score_says(scores in prop::collection::vec(-30f32..30.0, 1..50), top in 0usize..6) {
        let all: Vec<TokenScore> = (0..scores.len() as u32).map(|token| TokenScore::of(token, &scores, top)).collect();
        let sum: f64 = all.iter().map(|score| f64::from(score.log_prob).exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5);
        for pair in scores.windows(2).zip(all.windows(2)) {
            prop_assert!(((pair.0[0] - pair.0[1]) - (pair.1[0].log_prob - pair.1[1].log_prob)).abs() < 1e-4);
        }
        let best = &all[0].top;
        prop_assert_eq!(best.len(), top.min(scores.len()));
        prop_assert!(best.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        prop_assert!(best.iter().all(|(token, log_prob)| all[*token as usize].log_prob == *log_prob));
        let left = all.iter().enumerate().filter(|(token, _)| best.iter().all(|(best, _)| *best as usize != *token));
        let worst = best.last().map_or(f32::INFINITY, |(_, log_prob)| *log_prob);
        prop_assert!(left.into_iter().all(|(_, score)| score.log_prob <= worst));
    }
}

#[test]
fn the_work_ends_where_it_is_told_to_and_refuses_what_cannot_be_read() {
    let model = model(&device(compiled_backends()[0], None).unwrap());
    let mut seen = 0;
    let texts = vec![vec![1, 2, 3]; 5];
    score(&model, &texts, 0, |_, _| {
        seen += 1;
        if seen == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(seen, 2);
    for (text, word) in [
        (vec![], "empty"),
        (vec![VOCABULARY], "vocabulary"),
        (vec![1; 65], "context"),
    ] {
        let refused = score(&model, &[vec![1], text], 0, |_, _| panic!("nothing is scored")).unwrap_err();
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[test]
fn a_model_whose_scores_are_nan_has_no_log_probabilities() {
    for backend in compiled_backends() {
        let model = broken(&device(backend, None).unwrap());
        for text in [vec![5, 6, 7], vec![5]] {
            let refused = score(&model, &[text], 1, |_, scored| panic!("{backend}: {scored:?}")).unwrap_err();
            assert!(refused.to_string().contains("NaN"), "{refused}");
        }
    }
}
