//! `/v1/completions` gives the model's continuations and scores.

mod support;

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::{Value, json};
use smollm3_inference::{Continuation, TextModel};
use smollm3_kernels::Documents;
use smollm3_model::{Generation, Sampling, generate};
use support::{CONTEXT, Served, broken, random, served};

const PATH: &str = "/v1/completions";

/// ln p of every entry of the vocabulary after each token of each text, all in one row as the server has them.
fn log_probs(model: &TextModel, texts: &[Vec<u32>]) -> Vec<Vec<Vec<f64>>> {
    let ids: Vec<i32> = texts.iter().flatten().map(|id| *id as i32).collect();
    let length = ids.len();
    let mut starts = vec![0];
    texts[..texts.len() - 1]
        .iter()
        .for_each(|text| starts.push(starts[starts.len() - 1] + text.len()));
    let row = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, length]), &model.model.head().device());
    let documents = Documents::new(vec![starts], length).unwrap();
    let logits: Vec<f64> = model.model.logits(row, &documents).into_data().iter().collect();
    let mut rows = logits.chunks(model.config.vocab_size).map(|logits| {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit - sum.ln()).collect()
    });
    texts
        .iter()
        .map(|text| rows.by_ref().take(text.len()).collect())
        .collect()
}

fn numbers(list: &Value) -> Vec<Option<f64>> {
    list.as_array().unwrap().iter().map(Value::as_f64).collect()
}

fn texts(answer: &Value) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], json!(index));
    }
    choices
        .iter()
        .map(|choice| choice["text"].as_str().unwrap())
        .collect()
}

#[test]
fn log_likelihoods_are_those_of_the_model() {
    let model = random();
    let served = served(random());
    // As lm-evaluation-harness asks; of several lengths, so that rows are shared.
    let prompts: Vec<Vec<u32>> = [31usize, 2, 90, 1, 150]
        .iter()
        .map(|length| {
            (0..*length as u32)
                .map(|i| (i * i * 7 + *length as u32) % 1018)
                .collect()
        })
        .collect();
    let mut request = json!({"model": "tiny", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 3, "seed": 1234, "echo": true});
    let answer = served.done(PATH, &request);
    let all = log_probs(&model, &prompts);
    for ((prompt, expected), choice) in prompts
        .iter()
        .zip(&all)
        .zip(answer["choices"].as_array().unwrap())
    {
        let found = &choice["logprobs"];
        let chosen = numbers(&found["token_logprobs"]);
        assert_eq!(chosen.len(), prompt.len() + 1, "the prompt and one more");
        assert_eq!((chosen[0], &found["top_logprobs"][0]), (None, &Value::Null));
        let greedy = (0..)
            .zip(&expected[prompt.len() - 1])
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        let ids: Vec<u32> = prompt.iter().copied().chain([greedy.0]).collect();
        for (at, log_prob) in chosen.iter().enumerate().skip(1) {
            let (log_prob, place) = (log_prob.unwrap(), &expected[at - 1]);
            assert!(
                (log_prob - place[ids[at] as usize]).abs() < 1e-5,
                "{at}: {log_prob}"
            );
            let top = found["top_logprobs"][at].as_object().unwrap();
            let mut values: Vec<f64> = top.values().map(|value| value.as_f64().unwrap()).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            let mut best = place.clone();
            best.sort_by(|a, b| b.total_cmp(a));
            assert!(
                values.len() == 3 || values.len() == 4,
                "the chosen one may be a fourth"
            );
            assert!(
                values
                    .iter()
                    .zip(&best)
                    .take(3)
                    .all(|(a, b)| (a - b).abs() < 1e-5),
                "{at}"
            );
            assert!(values.iter().map(|value| value.exp()).sum::<f64>() <= 1.0 + 1e-6);
            // How the harness finds out whether a text is the most probable one: by equality.
            let is_greedy = place[ids[at] as usize] == best[0];
            assert_eq!(log_prob == values[0], is_greedy, "{at}");
            let name = found["tokens"][at].as_str().unwrap();
            assert_eq!(top[name].as_f64(), Some(log_prob), "{at}: {name}");
        }
    }
    let usage = json!({"prompt_tokens": 274, "completion_tokens": 5, "total_tokens": 279});
    assert_eq!(answer["usage"], usage);

    request["max_tokens"] = json!(0);
    let nothing_new = served.done(PATH, &request);
    for (index, prompt) in prompts.iter().enumerate() {
        let [with, without] = [&answer, &nothing_new].map(|answer| &answer["choices"][index]);
        let all = with["logprobs"]["token_logprobs"].as_array().unwrap();
        assert_eq!(without["logprobs"]["token_logprobs"], json!(all[..prompt.len()]));
        assert_eq!(without["finish_reason"], "length");
    }
    // More new tokens come another way, the prompt's scores are the same.
    request["max_tokens"] = json!(4);
    let longer = served.done(PATH, &request);
    for (index, prompt) in prompts.iter().enumerate() {
        let [short, long] =
            [&answer, &longer].map(|answer| numbers(&answer["choices"][index]["logprobs"]["token_logprobs"]));
        assert_eq!(short[..prompt.len()], long[..prompt.len()]);
        assert_eq!(short.len() + 3, long.len());
    }
}

#[test]
fn texts_are_continued_as_by_the_model_itself() {
    let model = random();
    let served = served(random());
    let prompts = ["A short text", "Another, somewhat longer text: 1 + 2", "漢"];
    let ids: Vec<Vec<u32>> = prompts
        .iter()
        .map(|text| model.tokenizer.encode(text).unwrap())
        .collect();
    let settings = Generation {
        max_new_tokens: 20,
        stop: model.end_tokens(),
        sampling: Sampling::default(),
    };
    let expected = generate(&model.model, &ids, &settings, |_, _| ControlFlow::Continue(())).unwrap();
    let expected: Vec<String> = expected
        .iter()
        .map(|ids| model.tokenizer.decode(ids, true).unwrap())
        .collect();

    let request = json!({"prompt": prompts, "max_tokens": 20, "temperature": 0});
    let answer = served.done(PATH, &request);
    assert_eq!(
        texts(&answer),
        expected
            .iter()
            .map(|text| text.trim_end_matches('\u{fffd}'))
            .collect::<Vec<_>>()
    );
    let by_ids = served.done(PATH, &json!({"prompt": ids, "max_tokens": 20, "temperature": 0}));
    assert_eq!(texts(&by_ids), texts(&answer));
    // One at a time, in every form that a prompt may have.
    for (index, (text, ids)) in prompts.iter().zip(&ids).enumerate() {
        for prompt in [json!(text), json!([text]), json!(ids), json!([ids])] {
            let alone = served.done(
                PATH,
                &json!({"prompt": prompt, "max_tokens": 20, "temperature": 0}),
            );
            assert_eq!(texts(&alone), [texts(&answer)[index]]);
        }
    }
    let echoed = served.done(
        PATH,
        &json!({"prompt": ids, "max_tokens": 20, "temperature": 0, "echo": true}),
    );
    for ((echoed, prompt), text) in texts(&echoed).iter().zip(prompts).zip(texts(&answer)) {
        assert_eq!(*echoed, format!("{prompt}{text}"));
    }
}

#[test]
fn random_texts_are_those_of_their_seed() {
    let model = random();
    let served = served(random());
    let prompt = "Once upon a time";
    let request = json!({"prompt": [prompt, "2 + 2"], "max_tokens": 12, "temperature": 0.9, "top_p": 0.8, "top_k": 50, "n": 2, "seed": 7});
    let answer = served.done(PATH, &request);
    assert_eq!(served.done(PATH, &request)["choices"], answer["choices"]);
    let found = texts(&answer);
    assert_eq!(found.len(), 4);
    assert_ne!(
        found[0], found[1],
        "each continuation has random numbers of its own"
    );
    assert_eq!(answer["usage"]["completion_tokens"].as_u64(), Some(48));
    let how = Continuation {
        max_new_tokens: 12,
        stop: vec![],
        sampling: Sampling {
            temperature: 0.9,
            top_p: 0.8,
            top_k: 50,
            seed: 7,
            ..Sampling::default()
        },
    };
    let ids = model.tokenizer.encode(prompt).unwrap();
    assert_eq!(found[0], model.continue_text(&ids, &how, |_| Ok(())).unwrap());

    let unseeded = json!({"prompt": prompt, "max_tokens": 30, "temperature": 1.5});
    let draw = || texts(&served.done(PATH, &unseeded)).concat();
    assert_ne!(draw(), draw());
}

#[test]
fn what_a_request_leaves_open_is_as_the_checkpoint_draws() {
    let mut drawing = random();
    drawing.generation.sampling = Sampling {
        temperature: 1.5,
        top_k: 1,
        ..Sampling::default()
    };
    let (drawing, plain) = (served(drawing), served(random()));
    let completion = json!({"prompt": "A text", "max_tokens": 30, "seed": 7});
    let message = json!({"role": "user", "content": "A text"});
    let chat = json!({"messages": [message], "max_tokens": 30, "seed": 7});
    for (path, request) in [(PATH, completion), ("/v1/chat/completions", chat)] {
        let said = |server: &Served, more: Value| {
            let mut request = request.clone();
            for (field, value) in more.as_object().unwrap() {
                request[field] = value.clone();
            }
            let answer = server.done(path, &request);
            let choice = &answer["choices"][0];
            json!([choice["text"], choice["message"]])
        };
        let greedy = said(&plain, json!({"temperature": 0}));
        assert_eq!(said(&drawing, json!({})), greedy);
        // What it says counts, and the rest is still the checkpoint's.
        let drawn = said(&drawing, json!({"top_k": 0}));
        assert_eq!(drawn, said(&plain, json!({"temperature": 1.5})));
        assert_ne!(drawn, greedy);
        // A checkpoint that says nothing is drawn from as it is by OpenAI.
        let open = said(&plain, json!({}));
        assert_eq!(open, said(&plain, json!({"temperature": 1})));
        assert_ne!(open, greedy);
    }
}

#[test]
fn a_text_ends_before_a_stop_text() {
    let served = served(random());
    let request = json!({"prompt": "A text", "max_tokens": 40, "temperature": 0});
    let free = served.done(PATH, &request);
    assert_eq!(free["choices"][0]["finish_reason"], "length");
    let text = texts(&free)[0].to_owned();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let expected = &text[..text.find(&stop).unwrap()];
    for stop in [json!(stop), json!(["never said, this", stop])] {
        let mut request = request.clone();
        request["stop"] = stop;
        let stopped = served.done(PATH, &request);
        assert_eq!(
            (texts(&stopped)[0], &stopped["choices"][0]["finish_reason"]),
            (expected, &json!("stop"))
        );
        assert!(stopped["usage"]["completion_tokens"].as_u64() < Some(40));
    }
}

#[test]
fn pieces_add_up_to_the_whole() {
    let served = served(random());
    let request = json!({
        "prompt": ["Some text", "漢字"], "max_tokens": 15, "temperature": 0.7, "seed": 3, "n": 2, "logprobs": 2, "echo": true, "stop": ["e", " "],
    });
    let whole = served.done(PATH, &request);
    let mut with_usage = request.clone();
    with_usage["stream_options"] = json!({"include_usage": true});
    with_usage["stream"] = json!(true);
    let mut pieces = served.streamed(PATH, &with_usage);
    let last = pieces.pop().unwrap();
    assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])));
    assert_eq!(
        served.streamed(PATH, &request).len(),
        pieces.len(),
        "usage only where it is asked for"
    );
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let mine: Vec<&Value> = pieces
            .iter()
            .map(|piece| &piece["choices"][0])
            .filter(|piece| piece["index"] == json!(index))
            .collect();
        let text: String = mine.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
        assert_eq!(choice["text"], json!(text));
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let all: Vec<Value> = mine
                .iter()
                .filter_map(|piece| piece["logprobs"][list].as_array())
                .flatten()
                .cloned()
                .collect();
            assert_eq!(choice["logprobs"][list], json!(all), "{list}");
        }
        let ends: Vec<&Value> = mine
            .iter()
            .map(|piece| &piece["finish_reason"])
            .filter(|reason| !reason.is_null())
            .collect();
        assert_eq!(ends, [&choice["finish_reason"]]);
        assert!(mine.len() > 2);
    }
}

#[test]
fn offsets_count_the_characters_of_the_text() {
    let served = served(random());
    let prompt = "Grüße 漢字, 1 + 2";
    let answer = served.done(
        PATH,
        &json!({"prompt": prompt, "echo": true, "logprobs": 0, "max_tokens": 0}),
    );
    let found = &answer["choices"][0]["logprobs"];
    let letters: Vec<char> = prompt.chars().collect();
    let mut last = 0;
    for (token, offset) in found["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .zip(numbers(&found["text_offset"]))
    {
        let (token, offset) = (token.as_str().unwrap(), offset.unwrap() as usize);
        assert!(offset >= last && offset < letters.len());
        last = offset;
        if !token.starts_with("bytes:") {
            let there: String = letters[offset..].iter().take(token.chars().count()).collect();
            assert_eq!(there, token);
        }
    }
    assert_eq!(answer["choices"][0]["text"], prompt);
}

#[test]
fn the_context_is_the_limit() {
    let served = served(random());
    let prompt = vec![5; CONTEXT - 3];
    let (status, _) = served.post(PATH, &json!({"prompt": prompt, "max_tokens": 3}));
    assert_eq!(status, 200);
    let (status, refused) = served.post(PATH, &json!({"prompt": prompt, "max_tokens": 4}));
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("max_tokens")));
}

#[test]
fn a_model_with_a_nan_answers_with_an_error() {
    let served = served(broken());
    for request in [
        json!({"prompt": "A text", "max_tokens": 3, "temperature": 0}),
        json!({"prompt": "A text", "max_tokens": 3}),
        json!({"prompt": "A text", "max_tokens": 0, "echo": true, "logprobs": 1}),
        json!({"prompt": "A text", "max_tokens": 1, "echo": true, "logprobs": 1}),
    ] {
        let (status, answer) = served.post(PATH, &request);
        let said = answer["error"]["message"].as_str().unwrap();
        assert_eq!((status, said.contains("NaN")), (500, true), "{request}: {answer}");
    }
}
