//! Texts continued together are what each is alone, token by token and piece by piece.

#[path = "../../model/tests/tiny/mod.rs"]
mod tiny;

use std::ops::ControlFlow;

use smollm3_corpus::Tokenizer;
use smollm3_inference::{Continuation, End, TextModel};
use smollm3_kernels::{compiled_backends, device};
use smollm3_model::hf::GenerationConfig;
use smollm3_model::{Generation, ModelConfig, Sampling, generate};

fn text_model() -> TextModel {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let tokenizer = Tokenizer::load(format!("{root}/tests/fixtures/tokenizer/tokenizer.json")).unwrap();
    let mut config = ModelConfig::from_toml_file(format!("{root}/configs/demo.toml").as_ref()).unwrap();
    config.eos_token_id = None;
    TextModel {
        folder: "tiny".into(),
        config,
        model: tiny::model(&device(compiled_backends()[0], None).unwrap()),
        tokenizer,
        template: None,
        generation: GenerationConfig::default(),
    }
}

fn how(max_new_tokens: usize, stop: &[&str]) -> Continuation {
    Continuation {
        max_new_tokens,
        stop: stop.iter().map(|text| (*text).to_owned()).collect(),
        sampling: Sampling {
            temperature: 0.8,
            seed: 5,
            ..Sampling::default()
        },
    }
}

#[test]
fn rows_have_the_models_tokens_their_pieces_and_their_end() {
    let model = text_model();
    let prompts = [vec![40, 41, 42], vec![50; 30], vec![60]];
    let settings = Generation {
        max_new_tokens: 20,
        stop: model.end_tokens(),
        sampling: how(20, &[]).sampling,
    };
    let expected = generate(
        &model.model,
        &prompts,
        &settings,
        |_, _| ControlFlow::Continue(()),
    )
    .unwrap();

    let mut tokens = vec![Vec::new(); prompts.len()];
    let mut pieces = vec![String::new(); prompts.len()];
    let mut ends = vec![None; prompts.len()];
    let texts = model.continue_texts(&prompts, &[], &how(20, &[]), |step| {
        assert_eq!(ends[step.row], None, "nothing follows an end");
        tokens[step.row].push(step.token);
        pieces[step.row] += &step.piece;
        ends[step.row] = step.end;
        assert!(step.scores.len() == tiny::VOCABULARY as usize);
        ControlFlow::Continue(())
    });
    assert_eq!(tokens, expected);
    assert_eq!(pieces, texts.unwrap());
    assert_eq!(ends, [Some(End::Length); 3]);

    // A stop text ends one row and leaves the others.
    let stop: String = pieces[1].chars().skip(5).take(2).collect();
    let mut ends = vec![None; prompts.len()];
    let texts = model.continue_texts(&prompts, &[], &how(20, &[&stop]), |step| {
        ends[step.row] = step.end;
        ControlFlow::Continue(())
    });
    for (row, text) in texts.unwrap().iter().enumerate() {
        let cut = pieces[row].find(&stop);
        assert_eq!(*text, pieces[row][..cut.unwrap_or(pieces[row].len())]);
        assert_eq!(
            ends[row],
            Some(if cut.is_some() { End::Stop } else { End::Length })
        );
    }
}

#[test]
fn a_row_ends_at_the_context_and_where_the_caller_has_enough() {
    let model = text_model();
    let prompts = [vec![40; 60], vec![41; 4]];
    let mut ends = [(0, None); 2];
    model
        .continue_texts(&prompts, &[], &how(500, &[]), |step| {
            let (tokens, end) = &mut ends[step.row];
            *tokens += 1;
            *end = step.end;
            match step.row == 1 && *tokens == 7 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .unwrap();
    assert_eq!(ends, [(5, Some(End::Length)), (7, None)]);
}
