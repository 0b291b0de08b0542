//! Log-likelihoods of packed requests, against log-softmax of each request alone; requests as the harness cuts them.

#[path = "../../model/tests/tiny/mod.rs"]
mod tiny;

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use proptest::prelude::*;
use smollm3_corpus::Tokenizer;
use smollm3_eval::{EvalError, LogLikelihood, Request, log_likelihoods};
use smollm3_kernels::{Documents, compiled_backends, device};
use smollm3_model::SmolLm3;
use tiny::{VOCABULARY, model};

/// Longest row of the tiny model.
const CONTEXT: usize = 64;

/// One request alone, from all logits in f64.
fn alone(model: &SmolLm3, request: &Request, device: &Device) -> LogLikelihood {
    let all: Vec<u32> = [request.context.as_slice(), &request.continuation].concat();
    let kept = &all[all.len().saturating_sub(CONTEXT + 1)..];
    let inputs: Vec<i32> = kept[..kept.len() - 1].iter().map(|id| *id as i32).collect();
    let seq = inputs.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(inputs, [1, seq]), device);
    let logits = model.logits(ids, &Documents::whole_rows(1, seq));
    let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let tokens = request.continuation.len().min(seq);
    let mut found = LogLikelihood {
        sum: 0.0,
        tokens,
        greedy: true,
        cut: all.len() > CONTEXT + 1,
    };
    for at in seq - tokens..seq {
        let logits = &logits[at * VOCABULARY as usize..][..VOCABULARY as usize];
        let chosen = logits[kept[at + 1] as usize];
        found.sum += chosen - logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        found.greedy &= logits.iter().all(|logit| *logit <= chosen);
    }
    found
}

#[track_caller]
fn assert_same(found: &[LogLikelihood], expected: &[LogLikelihood]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.sum - expected.sum).abs() < 2e-4, "{found:?} {expected:?}");
        assert_eq!(
            (found.tokens, found.greedy, found.cut),
            (expected.tokens, expected.greedy, expected.cut)
        );
    }
}

fn request(context: &[u32], continuation: &[u32]) -> Request {
    Request {
        context: context.to_vec(),
        continuation: continuation.to_vec(),
    }
}

#[test]
fn requests_that_read_the_same_are_told_apart() {
    for backend in compiled_backends() {
        let device = device(backend, None).unwrap();
        let model = model(&device);
        let mut requests = vec![
            request(&[1, 2, 3, 4], &[5]),
            request(&[1, 2, 3, 4], &[6]),
            request(&[1, 2, 3], &[4, 6]),
            request(&[1], &[2, 3, 4, 7]),
            request(&[1, 2, 3, 4], &[5]),
            request(&[9], &[9]),
        ];
        // What the model itself would write is greedy, and nothing else is.
        let best = (0..VOCABULARY)
            .find(|id| alone(&model, &request(&[1, 2, 3, 4], &[*id]), &device).greedy)
            .unwrap();
        requests.push(request(&[1, 2, 3, 4], &[best]));
        let expected: Vec<_> = requests
            .iter()
            .map(|request| alone(&model, request, &device))
            .collect();
        for tokens_at_once in [1, 7, 1000] {
            let found = log_likelihoods(&model, &requests, tokens_at_once, &mut |_, _| Ok(())).unwrap();
            assert_same(&found, &expected);
            assert!(found.last().unwrap().greedy);
        }
    }
}

#[test]
fn what_is_longer_than_the_context_keeps_its_end() {
    let device = device("flex", None).unwrap();
    let model = model(&device);
    let ids = |length: u32, step: u32| {
        (0..length)
            .map(|i| (i * i + i * step + 1) % VOCABULARY)
            .collect::<Vec<_>>()
    };
    let requests = [
        request(&ids(61, 3), &ids(4, 5)), // 65 tokens, of which 64 are read
        request(&ids(62, 3), &ids(4, 5)),
        request(&ids(200, 3), &ids(10, 5)),
        request(&ids(5, 3), &ids(100, 5)),
    ];
    let found = log_likelihoods(&model, &requests, 100, &mut |_, _| Ok(())).unwrap();
    let cut: Vec<_> = found.iter().map(|found| (found.cut, found.tokens)).collect();
    assert_eq!(cut, [(false, 4), (true, 4), (true, 10), (true, 64)]);
    let expected: Vec<_> = requests
        .iter()
        .map(|request| alone(&model, request, &device))
        .collect();
    assert_same(&found, &expected);
}

#[test]
fn what_cannot_be_scored_is_refused_and_work_can_be_stopped() {
    let device = device("flex", None).unwrap();
    let model = model(&device);
    let score = |request: Request| log_likelihoods(&model, &[request], 10, &mut |_, _| Ok(()));
    let outside = score(request(&[1], &[VOCABULARY])).unwrap_err().to_string();
    assert!(outside.contains("97"), "{outside}");
    assert!(score(request(&[], &[1])).is_err());
    assert!(score(request(&[1], &[])).is_err());
    let requests = vec![request(&[1, 2], &[3]), request(&[1, 4], &[3])];
    let stopped = log_likelihoods(&model, &requests, 2, &mut |done, _| match done {
        0 => Ok(()),
        _ => Err(EvalError::Interrupted { kept: false }),
    });
    assert!(matches!(stopped, Err(EvalError::Interrupted { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn packing_changes_nothing(
        texts in prop::collection::vec((prop::collection::vec(0u32..4, 1..20), prop::collection::vec(0u32..3, 1..5)), 1..12),
        tokens_at_once in 1usize..80,
    ) {
        let device = device("flex", None).unwrap();
        let model = model(&device);
        let requests: Vec<_> = texts.iter().map(|(a, b)| request(a, b)).collect();
        let expected: Vec<_> = requests.iter().map(|request| alone(&model, request, &device)).collect();
        let found = log_likelihoods(&model, &requests, tokens_at_once, &mut |_, _| Ok(())).unwrap();
        assert_same(&found, &expected);
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizer")).unwrap()
}

#[test]
fn white_space_at_the_end_of_a_context_belongs_to_the_continuation() {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode(text).unwrap();
    for (context, continuation, given, scored) in [
        ("The sum is", " 12 apples", "The sum is", " 12 apples"),
        ("The sum is ", "12 apples", "The sum is", " 12 apples"),
        ("The sum\n\n", "is 12", "The sum", "\n\nis 12"),
    ] {
        let request = Request::new(&tokenizer, context, continuation, 0).unwrap();
        assert_eq!(request.context, encode(given), "{context:?}");
        assert_eq!(tokenizer.decode(&request.continuation, false).unwrap(), scored);
        let whole = [request.context, request.continuation].concat();
        assert_eq!(whole, encode(&format!("{context}{continuation}")));
    }
}

#[test]
fn a_token_across_the_border_belongs_to_the_context() {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode(text).unwrap();
    // `:` and the line ends are one token, in whose place the context's own `:` is read: so does the harness.
    assert_eq!(
        encode("is:\n\n12").len(),
        encode("is:").len() + encode("12").len()
    );
    let request = Request::new(&tokenizer, "is:", "\n\n12", 0).unwrap();
    assert_eq!(
        (request.context, request.continuation),
        (encode("is:"), encode("12"))
    );
}

#[test]
fn an_empty_context_is_the_beginning_of_text() {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode(text).unwrap();
    for context in ["", "  "] {
        let request = Request::new(&tokenizer, context, "A text.", 7).unwrap();
        assert_eq!(request.context, [7]);
        assert_eq!(request.continuation, encode(&format!("{context}A text.")));
    }
    // A text that has its beginning already gets no second one.
    let begin = tokenizer.info().begin_of_text.unwrap();
    let request = Request::new(&tokenizer, "", "<|begin_of_text|>A text.", begin).unwrap();
    assert_eq!(
        (request.context, request.continuation),
        (vec![begin], encode("A text."))
    );
    let nothing = Request::new(&tokenizer, "A text.", "", 7);
    assert!(matches!(nothing, Err(EvalError::NoContinuation { .. })));
}
