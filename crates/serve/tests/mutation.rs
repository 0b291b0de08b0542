//! Requests with randomly mutated bytes and numbers are answered or refused, never with a server error. This takes a few
//! seconds here, minutes with `scripts/verify/mutation.sh`.

#[path = "../../corpus/tests/mutation/mutate.rs"]
mod mutate;
mod support;

use std::time::Instant;

use mutate::{mutated, seconds, seed};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use smollm3_chat::Template;
use support::{random, served};

/// Requests that are answered unchanged.
fn requests() -> Vec<(&'static str, Value)> {
    let tool = json!({"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}, "required": ["a"]}}});
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1, \"b\": [2.5]}"}});
    let chat = json!({"model": "tiny", "messages": [
        {"role": "system", "content": "Be brief. /no_think"},
        {"role": "user", "content": [{"type": "text", "text": "What is 27 + 15? é 😀"}]},
        {"role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ], "tools": [tool], "tool_choice": "auto", "max_tokens": 2, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.05,
        "repetition_penalty": 1.1, "seed": 3, "stop": ["a", "\n\n"], "n": 2, "stream": true,
        "stream_options": {"include_usage": true}, "chat_template_kwargs": {"enable_thinking": true}});
    let completion = json!({"model": "tiny", "prompt": ["A text", "1 + 1 = "], "max_tokens": 2, "echo": true, "logprobs": 2,
        "temperature": 0, "stop": "x", "logit_bias": {}, "presence_penalty": 0});
    let tokens = json!({"prompt": [[5, 6, 7], [8]], "max_tokens": 1, "n": 2, "seed": -1, "user": "me"});
    vec![
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
        ("/v1/completions", tokens),
    ]
}

#[test]
fn no_request_is_the_servers_fault() {
    let mut model = random();
    // The context is short for what the built-in template says of itself.
    model.template = Some(Template::parse("test", SHORT).unwrap());
    let server = served(model);
    let requests = requests();
    let ask = |path: &str, body: &[u8]| server.ask("POST", path, "application/json", body);
    for (path, request) in &requests {
        let (status, _, answer) = ask(path, request.to_string().as_bytes());
        assert_eq!(status, 200, "{answer}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed());
    let (begin, most) = (Instant::now(), seconds(4));
    let (mut runs, mut answered, mut found) = (0, 0, Vec::new());
    while begin.elapsed() < most && found.len() < 10 {
        let (path, request) = requests.choose(&mut rng).unwrap();
        let mut body = mutated(request.to_string().as_bytes(), &mut rng);
        if rng.random_range(0..8) == 0 {
            body = mutated(&body, &mut rng);
        }
        let (status, _, answer) = ask(path, &body);
        runs += 1;
        answered += usize::from(status == 200);
        let refused = matches!(status, 400 | 404) && answer.contains("invalid_request_error");
        if !(status == 200 || refused) || answer.contains("server_error") {
            found.push(format!(
                "{path} {}\n{status} {answer}",
                String::from_utf8_lossy(&body)
            ));
        }
    }
    println!("{runs} requests, {answered} of them answered");
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert_eq!(server.ask("GET", "/health", "", b"").0, 200);
}

const SHORT: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}\n{% endfor %}\
    {% for t in tools or [] %}{{ t.function.name or t.name }}: {{ t.function.description or t.description }}\n{% endfor %}>";
