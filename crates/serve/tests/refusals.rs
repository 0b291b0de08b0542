//! Every request gets an answer, or a refusal that names the problem.

mod support;

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_serve::Limits;
use support::{Served, random, served, served_with};

static SERVED: LazyLock<Served> = LazyLock::new(|| served(random()));

const COMPLETIONS: &str = "/v1/completions";
const CHATS: &str = "/v1/chat/completions";

/// `base` with `field` set.
fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut request = base.clone();
    request[field] = value;
    request
}

#[track_caller]
fn refused(path: &str, request: &Value, status: u16, param: &str) {
    let (found, answer) = SERVED.post(path, request);
    assert_eq!(found, status, "{request}: {answer}");
    let error = &answer["error"];
    assert_eq!(error["param"], param, "{request}: {answer}");
    assert!(error["message"].as_str().unwrap().contains(param), "{answer}");
    assert_eq!(error["type"], "invalid_request_error");
}

#[test]
fn what_is_wrong_is_named() {
    let completion = json!({"prompt": "A text", "max_tokens": 2});
    let chat = json!({"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 2});
    for (path, base) in [(COMPLETIONS, &completion), (CHATS, &chat)] {
        for (field, value) in [
            ("temperature", json!(-0.1)),
            ("temperature", json!(2.5)),
            ("temperature", json!("hot")),
            ("top_p", json!(1.5)),
            ("top_k", json!(0.5)),
            ("min_p", json!(-1)),
            ("repetition_penalty", json!(0)),
            ("max_tokens", json!(-1)),
            ("max_tokens", json!(1.5)),
            ("max_tokens", json!(100_000)),
            ("seed", json!("one")),
            ("stop", json!(3)),
            ("stop", json!([""])),
            ("stop", json!(vec!["x"; 33])),
            ("n", json!(0)),
            ("n", json!(1000)),
            ("stream", json!("yes")),
            ("stream_options", json!({"include_usage": true})),
            ("logit_bias", json!({"5": 100})),
            ("frequency_penalty", json!(0.5)),
            ("presence_penalty", json!(-1)),
            ("response_format", json!({"type": "json_object"})),
            ("model", json!(5)),
            ("guided_json", json!({})),
        ] {
            refused(path, &with(base, field, value), 400, field);
        }
        refused(path, &with(base, "model", json!("gpt")), 404, "model");
    }
    for (field, value) in [
        ("prompt", json!(null)),
        ("prompt", json!("")),
        ("prompt", json!([])),
        ("prompt", json!([[]])),
        ("prompt", json!(["text", ""])),
        ("prompt", json!(["text", 5])),
        ("prompt", json!([-1])),
        ("prompt", json!([1_000_000])),
        ("prompt", json!({"text": "A text"})),
        ("prompt", json!(vec!["a"; 513])),
        ("prompt", json!(vec![5; 1000])),
        ("logprobs", json!(6)),
        ("logprobs", json!(true)),
        ("echo", json!(1)),
        ("suffix", json!("the end")),
        ("best_of", json!(3)),
    ] {
        refused(COMPLETIONS, &with(&completion, field, value), 400, field);
    }
    for (field, value) in [
        ("messages", json!(null)),
        ("messages", json!([])),
        ("messages", json!("Hello?")),
        ("messages", json!(["Hello?"])),
        ("messages", json!([{"role": "user"}])),
        ("messages", json!([{"role": "bird", "content": "Tweet."}])),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        ),
        ("messages", json!([{"role": "assistant", "tool_calls": "add"}])),
        (
            "messages",
            json!([{"role": "system", "content": "s", "tools": "[{"}, {"role": "user", "content": "a"}]),
        ),
        ("tools", json!({"name": "add"})),
        ("tools", json!([{"type": "function"}])),
        ("tools", json!(["{\"type\": "])),
        ("tool_choice", json!("required")),
        (
            "tool_choice",
            json!({"type": "function", "function": {"name": "add"}}),
        ),
        ("parallel_tool_calls", json!(false)),
        ("chat_template_kwargs", json!("enable_thinking")),
        ("chat_template_kwargs", json!({"messages": []})),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(5)),
        ("max_completion_tokens", json!(3)),
        ("max_tokens", json!(0)),
        ("reasoning_effort", json!("high")),
        ("verbosity", json!("low")),
        ("modalities", json!(["text", "audio"])),
        ("functions", json!([{"name": "add"}])),
        ("function_call", json!({"name": "add"})),
        (
            "messages",
            json!([{"role": "user", "content": "What is this?", "images": ["AAAA"]}]),
        ),
        (
            "messages",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "audio": {"id": "audio_1"}}]),
        ),
        (
            "messages",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]),
        ),
    ] {
        refused(CHATS, &with(&chat, field, value), 400, field);
    }
}

#[test]
fn what_changes_nothing_is_read_past() {
    let plain = json!({"prompt": "A text", "max_tokens": 5, "temperature": 0});
    let mut full = plain.clone();
    for (field, value) in [
        ("user", json!("me")),
        ("metadata", json!({"run": "1"})),
        ("store", json!(false)),
        ("service_tier", json!("auto")),
        ("logit_bias", json!({})),
        ("presence_penalty", json!(0)),
        ("frequency_penalty", json!(0.0)),
        ("best_of", json!(1)),
        ("suffix", json!(null)),
        ("top_k", json!(-1)),
        ("response_format", json!({"type": "text"})),
    ] {
        full[field] = value;
    }
    let [plain, full] = [plain, full].map(|request| SERVED.done(COMPLETIONS, &request)["choices"].clone());
    assert_eq!(plain, full);
    let chat = json!({"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 3, "logprobs": false, "parallel_tool_calls": true,
        "modalities": ["text"], "verbosity": "medium", "functions": [], "function_call": "none", "tools": [], "tool_choice": "none",
        "stream": true, "stream_options": {"include_usage": null, "include_obfuscation": false}});
    SERVED.streamed(CHATS, &chat);
    let mut chat = json!({"messages": [
        {"role": "user", "content": "Hello?", "name": null, "images": []},
        {"role": "assistant", "content": "b", "refusal": null, "audio": null, "annotations": [], "function_call": null, "tool_calls": []},
        {"role": "user", "content": "c"},
    ], "max_tokens": 3});
    for name in [
        "logprobs",
        "top_logprobs",
        "n",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "parallel_tool_calls",
        "max_completion_tokens",
        "user",
        "metadata",
        "functions",
        "reasoning_effort",
        "anything",
    ] {
        chat[name] = Value::Null;
    }
    SERVED.done(CHATS, &chat);
}

#[test]
fn what_is_no_request_is_refused_too() {
    let json = "application/json";
    for (method, path, kind, body, status) in [
        ("POST", COMPLETIONS, json, "", 400),
        ("POST", COMPLETIONS, json, "{\"prompt\": ", 400),
        ("POST", COMPLETIONS, json, "[1, 2]", 400),
        ("POST", CHATS, json, &"[".repeat(100_000), 400),
        ("POST", COMPLETIONS, "text/plain", "{\"prompt\": \"A text\"}", 415),
        ("GET", COMPLETIONS, json, "", 405),
        ("POST", "/v1/models", json, "", 405),
        ("POST", "/v1/embeddings", json, "{}", 404),
        ("GET", "/tokenizer_info", json, "", 404),
    ] {
        let (found, head, answer) = SERVED.ask(method, path, kind, body.as_bytes());
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(head.to_lowercase().contains("application/json"), "{head}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|message| message.len() > 10),
            "{answer}"
        );
    }
    let not_utf8 = SERVED.ask("POST", COMPLETIONS, json, b"{\"prompt\": \"\xff\"}");
    assert_eq!(not_utf8.0, 400);
}

#[test]
fn what_is_too_large_is_refused() {
    let served = served_with(
        random(),
        Limits {
            body: 1000,
            rows: 4,
            batch_tokens: 20,
            ..Limits::default()
        },
    );
    let long = json!({"prompt": "a".repeat(2000)});
    assert_eq!(served.post(COMPLETIONS, &long).0, 413);
    let rows = |n: usize| json!({"prompt": ["a", "b"], "n": n, "max_tokens": 2});
    assert_eq!(served.post(COMPLETIONS, &rows(2)).0, 200);
    let (status, answer) = served.post(COMPLETIONS, &rows(3));
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("prompt")));
    // Eight times 20 tokens are two rows of 80, not of 81; a single one may fill the context.
    let tokens = |rows: usize, new: usize| json!({"prompt": vec![vec![5; 10]; rows], "max_tokens": new});
    assert_eq!(served.post(COMPLETIONS, &tokens(2, 70)).0, 200);
    let (status, answer) = served.post(COMPLETIONS, &tokens(2, 71));
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("max_tokens")));
    // One new token is no exception.
    let long = json!({"prompt": vec![vec![5; 100]; 2], "max_tokens": 1});
    let (status, answer) = served.post(COMPLETIONS, &long);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("max_tokens")));
    assert_eq!(served.post(COMPLETIONS, &tokens(1, 190)).0, 200);
}

#[test]
fn the_model_and_the_servers_health_are_told() {
    let (status, _, answer) = SERVED.ask("GET", "/v1/models", "", b"");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["data"][0]["id"]), (200, &json!("tiny")));
    assert_eq!(answer["data"][0]["max_model_len"], json!(support::CONTEXT));
    let (status, _, alone) = SERVED.ask("GET", "/v1/models/tiny", "", b"");
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!((status, &alone), (200, &answer["data"][0]));
    let (status, _, other) = SERVED.ask("GET", "/v1/models/runs%2Fother", "", b"");
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_eq!((status, &other["error"]["param"]), (404, &json!("model")));
    assert!(other["error"]["message"].as_str().unwrap().contains("runs/other"));
    assert_eq!(SERVED.ask("GET", "/health", "", b"").0, 200);
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z<>|/é漢 ]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "user",
            "assistant",
            "tool",
            "system",
            "function",
            "text",
            "auto",
            "<think>"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop::sample::select(vec![
            "role",
            "content",
            "type",
            "text",
            "function",
            "name",
            "arguments",
            "tool_calls",
            "include_usage",
            "enable_thinking",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..4).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// Fields of a request, of the kind that is expected or of any.
fn any_fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let message = (
        prop::sample::select(vec!["user", "assistant", "system", "tool", "developer"]),
        any_json(),
    )
        .prop_map(|(role, content)| json!({"role": role, "content": content}));
    let likely = prop_oneof![
        prop::sample::select(vec![
            ("prompt", json!("A text")),
            ("prompt", json!([5, 6])),
            ("max_tokens", json!(2)),
            ("max_tokens", json!(0)),
            ("echo", json!(true)),
            ("logprobs", json!(2)),
            ("n", json!(2)),
            ("temperature", json!(0.7)),
            ("top_p", json!(0.0)),
            ("stream", json!(true)),
            ("stop", json!("a")),
        ])
        .prop_map(|(name, value)| (name, value)),
        prop::collection::vec(message, 1..3).prop_map(|messages| ("messages", json!(messages))),
    ];
    let names = prop::sample::select(vec![
        "prompt",
        "messages",
        "model",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "seed",
        "stop",
        "n",
        "logprobs",
        "echo",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "chat_template_kwargs",
        "user",
        "logit_bias",
        "other",
    ]);
    let field = prop_oneof![3 => likely, 2 => (names, any_json())];
    // Each is a request as it is, so that about half remain one.
    prop::collection::vec(field, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_request_brings_the_server_down(fields in any_fields(), chat: bool) {
        let mut request = match chat {
            true => json!({"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 2}),
            false => json!({"prompt": "A text", "max_tokens": 2}),
        };
        for (name, value) in fields {
            request[name] = value;
        }
        let path = if chat { CHATS } else { COMPLETIONS };
        let (status, _, text) = SERVED.ask("POST", path, "application/json", request.to_string().as_bytes());
        prop_assert!(matches!(status, 200 | 400 | 404), "{}: {}", status, text);
        if status != 200 {
            let answer: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(answer["error"]["message"].is_string());
        }
        prop_assert!(!text.contains("server_error"), "{}", text);
        prop_assert_eq!(SERVED.ask("GET", "/health", "", b"").0, 200);
    }
}
