//! The cache changes nothing but the time: next to the whole row computed at once, in any chunks, with any neighbours.

#[path = "fixture/mod.rs"]
mod fixture;
#[path = "tiny/mod.rs"]
mod tiny;

use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fixture::devices;
use proptest::prelude::*;
use smollm3_kernels::Documents;
use smollm3_model::{Cache, GenerateError, Generation, Sampling, generate, generate_streams};
use tiny::{VOCABULARY, broken, model};

fn ids(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let flat: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), rows[0].len()]), device)
}

fn row(length: usize, seed: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| (i * i * 7 + i * 3 + seed * 13) % VOCABULARY)
        .collect()
}

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn hidden_states_are_those_of_the_whole_row(length in 2usize..40, cuts in prop::collection::vec(1usize..9, 1..6), pad in 0usize..5) {
        for (backend, device) in devices() {
            let model = model(&device);
            let (first, second) = (row(length, 1), row(length, 2));
            let whole = |row: &Vec<u32>| values(model.forward(ids(std::slice::from_ref(row), &device), &Documents::whole_rows(1, length)));
            let expected = [whole(&first), whole(&second)];

            // The second row begins later; the first has as many tokens more in front of it.
            let padded: Vec<u32> = [vec![0; pad], second.clone()].concat();
            let longer: Vec<u32> = [row(pad, 5), first.clone()].concat();
            let mut cache = Cache::new(model.layers(), vec![0, pad]);
            let mut found = Vec::new();
            let mut at = 0;
            for size in cuts.iter().cycle() {
                let end = (at + size).min(length + pad);
                let chunk = [longer[at..end].to_vec(), padded[at..end].to_vec()];
                let states = model.extend(ids(&chunk, &device), &mut cache);
                let width = states.dims()[2];
                found.extend(values(states.narrow(0, 1, 1)).chunks(width).map(<[f32]>::to_vec));
                at = end;
                if at == length + pad {
                    break;
                }
            }
            let found: Vec<f32> = found.split_off(pad).concat();
            let worst = found.iter().zip(&expected[1]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            prop_assert!(found.len() == expected[1].len() && worst < 2e-5, "{}: off by {:e}", backend, worst);
            if pad == 0 {
                prop_assert!(expected[0] != expected[1]);
            }
        }
    }
}

fn settings(max_new_tokens: usize, sampling: Sampling) -> Generation {
    Generation {
        max_new_tokens,
        stop: Vec::new(),
        sampling,
    }
}

#[test]
fn greedy_tokens_are_those_of_the_whole_row_each_time() {
    for (backend, device) in devices() {
        let model = model(&device);
        let prompt = row(9, 1);
        let mut expected = prompt.clone();
        for _ in 0..12 {
            let logits = model.logits(
                ids(std::slice::from_ref(&expected), &device),
                &Documents::whole_rows(1, expected.len()),
            );
            let last = logits.narrow(1, expected.len() - 1, 1);
            let scores = values(last);
            let best = (0..scores.len())
                .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
                .unwrap();
            expected.push(best as u32);
        }
        let found = generate(&model, &[prompt], &settings(12, Sampling::default()), |_, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(found.unwrap()[0], expected[9..], "{backend}");
    }
}

#[test]
fn neighbours_change_nothing_but_the_random_stream_of_their_place() {
    for (backend, device) in devices() {
        let model = model(&device);
        let prompts = [row(3, 1), row(20, 2), row(11, 3)];
        let go_on = |_, _| ControlFlow::Continue(());
        let together = generate(&model, &prompts, &settings(10, Sampling::default()), go_on).unwrap();
        for (prompt, tokens) in prompts.iter().zip(&together) {
            let alone = generate(
                &model,
                std::slice::from_ref(prompt),
                &settings(10, Sampling::default()),
                go_on,
            );
            assert_eq!(alone.unwrap()[0], *tokens, "{backend}");
        }
        let sampled = |seed| {
            let sampling = Sampling {
                temperature: 1.0,
                seed,
                ..Sampling::default()
            };
            generate(&model, &prompts, &settings(10, sampling), go_on).unwrap()
        };
        assert_eq!(sampled(7), sampled(7), "{backend}: the same seed");
        assert_ne!(sampled(7), sampled(8), "{backend}: another seed");
    }
}

#[test]
fn a_named_stream_follows_its_prompt_to_any_place() {
    for (backend, device) in devices() {
        let model = model(&device);
        let sampling = Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::default()
        };
        let drawn = |prompts: &[Vec<u32>], streams: &[u64]| {
            let settings = settings(10, sampling.clone());
            let go_on = |_, _| ControlFlow::Continue(());
            generate_streams(&model, prompts, streams, &settings, go_on).unwrap()
        };
        let (first, second) = (row(3, 1), row(20, 2));
        let together = drawn(&[first.clone(), second.clone()], &[40, 2]);
        let turned = drawn(&[second.clone(), first.clone()], &[2, 40]);
        assert_eq!(together, [turned[1].clone(), turned[0].clone()], "{backend}");
        assert_eq!(
            drawn(std::slice::from_ref(&second), &[2])[0],
            together[1],
            "{backend}: alone"
        );
        assert_ne!(
            drawn(&[second], &[3])[0],
            together[1],
            "{backend}: another stream"
        );
    }
}

#[test]
fn rows_end_by_stop_token_by_the_callers_wish_and_at_the_context() {
    let (_, device) = devices().remove(0);
    let model = model(&device);
    let prompts = [row(60, 1), row(4, 2)];
    let all = settings(100, Sampling::default());
    let free = generate(&model, &prompts, &all, |_, _| ControlFlow::Continue(())).unwrap();
    // 64 positions: the last token is predicted from a full row.
    assert_eq!((free[0].len(), free[1].len()), (5, 61));
    let stop = Generation {
        stop: vec![free[1][3]],
        ..all.clone()
    };
    let first = free[1].iter().position(|token| *token == free[1][3]).unwrap();
    let stopped = generate(&model, &prompts[1..], &stop, |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(stopped[0], free[1][..=first]);
    let mut seen = 0;
    let cut = generate(&model, &prompts[1..], &all, |_, _| {
        seen += 1;
        if seen == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(cut.unwrap()[0], free[1][..2]);

    let refused =
        |prompt: Vec<u32>| generate(&model, &[prompt], &all, |_, _| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(refused(vec![]), GenerateError::EmptyPrompt));
    assert!(matches!(
        refused(vec![97]),
        GenerateError::Vocabulary { id: 97, .. }
    ));
    assert!(matches!(
        refused(vec![1; 65]),
        GenerateError::Context { prompt: 65, .. }
    ));
}

#[test]
fn a_model_whose_scores_are_nan_is_an_error_and_no_token() {
    for (backend, device) in devices() {
        let model = broken(&device);
        for temperature in [0.0, 1.0] {
            let sampling = Sampling {
                temperature,
                ..Sampling::default()
            };
            let found = generate(&model, &[vec![5, 6, 7]], &settings(3, sampling), |_, token| {
                panic!("{backend}: token {token}")
            });
            assert!(
                matches!(found, Err(GenerateError::NotFinite)),
                "{backend}: {found:?}"
            );
        }
    }
}
