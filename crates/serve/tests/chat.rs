//! `/v1/chat/completions`, with a scripted model.

mod support;

use serde_json::{Value, json};
use smollm3_chat::Template;
use support::{random, scripted, served};

const PATH: &str = "/v1/chat/completions";

/// Turns, then the assistant's, in which thinking may be switched off; what begins it is another where there are tools.
const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}\
    {% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% elif tools %}{{ tools[0].function.name }}<|im_start|>{% else %}:{% endif %}";

const CALL: &str = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";

fn ask(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "temperature": 0})
}

fn message(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]
}

#[test]
fn thoughts_are_apart_from_the_answer() {
    let model = || {
        scripted(
            &[":", "<think>", "a", "</think>", "b", "<|im_end|>"],
            &[],
            TEMPLATE,
        )
    };
    let server = served(model());
    let answer = server.done(PATH, &ask("What?"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(
        *message(&answer),
        json!({"role": "assistant", "reasoning_content": "a", "content": "b"})
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 5);

    // The prompt has a thought already, and it is closed: what follows it is the answer.
    let mut quiet = ask("What?");
    quiet["chat_template_kwargs"] = json!({"enable_thinking": false});
    let answer = server.done(PATH, &quiet);
    assert_eq!(*message(&answer), json!({"role": "assistant", "content": "b"}));

    // Cut within its thought, it has no answer.
    let mut short = ask("What?");
    short["max_tokens"] = json!(2);
    let answer = server.done(PATH, &short);
    assert_eq!(
        *message(&answer),
        json!({"role": "assistant", "reasoning_content": "a", "content": null})
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "length");

    let opened = TEMPLATE.replace("{% else %}:", "{% else %}<think>\n");
    let server = served(scripted(
        &["\n", "a", "</think>", "b", "<|im_end|>"],
        &[],
        &opened,
    ));
    let answer = server.done(PATH, &ask("What?"));
    assert_eq!(
        *message(&answer),
        json!({"role": "assistant", "reasoning_content": "a", "content": "b"})
    );
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}])
}

#[test]
fn calls_are_told_as_calls_if_tools_were_offered() {
    let words = ["<|im_start|>", "a", CALL, "<|im_end|>"];
    let server = served(scripted(&words, &[CALL], TEMPLATE));
    let mut request = ask("Add.");
    request["tools"] = tools();
    request["tool_choice"] = json!("auto");
    let answer = server.done(PATH, &request);
    let said = message(&answer);
    assert_eq!(said["content"], "a");
    let call = &said["tool_calls"][0];
    assert_eq!(call["type"], "function");
    assert_eq!(
        call["function"],
        json!({"name": "add", "arguments": "{\"a\": 1}"})
    );
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");

    let pieces = server.streamed(PATH, &request);
    let calls: Vec<&Value> = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["delta"]["tool_calls"].get(0))
        .collect();
    assert_eq!(
        (calls.len(), &calls[0]["index"], &calls[0]["function"]),
        (1, &json!(0), &call["function"])
    );
    assert_eq!(
        pieces.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );

    // What comes back is part of the next prompt.
    let mut next = request.clone();
    let turns = next["messages"].as_array_mut().unwrap();
    turns.push(said.clone());
    turns.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "2"}));
    let tokens = |request: &Value| {
        server.done(PATH, request)["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let with_call = tokens(&next);
    next["messages"][1]["tool_calls"] = Value::Null;
    assert!(with_call > tokens(&next));

    request["tool_choice"] = json!("none");
    let words = [":", "a", CALL, "<|im_end|>"];
    let server = served(scripted(&words, &[CALL], TEMPLATE));
    let answer = server.done(PATH, &request);
    assert_eq!(message(&answer)["content"], format!("a{CALL}"));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn what_the_server_says_can_be_sent_back() {
    let thought = [":", "<think>", "a", "</think>", "b", "<|im_end|>"];
    let no_call = "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>";
    let bare_call = "<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>";
    // What is thought and said.
    let cases = [
        // Cut off inside its thought.
        (&thought[..], 2, json!(["a", null])),
        (&thought[..], 9, json!(["a", "b"])),
        (&[":", "<|im_end|>"], 9, json!([null, ""])),
        (&[":", "<think>", "</think>", "<|im_end|>"], 9, json!([null, ""])),
        (
            &["<|im_start|>", no_call, "<|im_end|>"],
            9,
            json!([null, no_call]),
        ),
        (&["<|im_start|>", bare_call, "<|im_end|>"], 9, json!([null, null])),
    ];
    for (words, most, expected) in cases {
        let server = served(scripted(words, &[no_call, bare_call], TEMPLATE));
        let mut request = ask("What?");
        request["max_tokens"] = json!(most);
        if words[0] == "<|im_start|>" {
            request["tools"] = tools();
        }
        let answer = server.done(PATH, &request);
        let said = message(&answer);
        assert_eq!(json!([said["reasoning_content"], said["content"]]), expected);
        let calls = said.get("tool_calls").is_some();
        assert_eq!(calls, words.contains(&bare_call), "{said}");
        let pieces = server.streamed(PATH, &request);
        let text = pieces
            .iter()
            .find_map(|piece| piece["choices"][0]["delta"]["content"].as_str());
        assert_eq!(json!(text), expected[1]);

        let turns = request["messages"].as_array_mut().unwrap();
        turns.push(said.clone());
        turns.push(json!({"role": "user", "content": "What else?"}));
        let next = server.done(PATH, &request);
        assert_eq!(message(&next)["content"], expected[1]);
    }
}

#[test]
fn pieces_add_up_to_the_whole() {
    let scripts = [
        served(scripted(
            &[":", "<think>", "a", "</think>", "b", "<|im_end|>"],
            &[],
            TEMPLATE,
        )),
        served(random()),
    ];
    for server in &scripts {
        let mut request = ask("What?");
        request["n"] = json!(2);
        request["max_completion_tokens"] = json!(30);
        request["temperature"] = json!(0.5);
        request["seed"] = json!(3);
        let whole = server.done(PATH, &request);
        request["stream_options"] = json!({"include_usage": true});
        request["stream"] = json!(true);
        let mut pieces = server.streamed(PATH, &request);
        assert_eq!(pieces.pop().unwrap()["usage"], whole["usage"]);
        for choice in whole["choices"].as_array().unwrap() {
            let mine = pieces
                .iter()
                .map(|piece| &piece["choices"][0])
                .filter(|piece| piece["index"] == choice["index"]);
            let mine: Vec<&Value> = mine.collect();
            assert_eq!(mine[0]["delta"]["role"], "assistant");
            for field in ["reasoning_content", "content"] {
                let text: String = mine
                    .iter()
                    .filter_map(|piece| piece["delta"][field].as_str())
                    .collect();
                assert_eq!(choice["message"][field].as_str().unwrap_or_default(), text);
            }
            assert_eq!(mine.last().unwrap()["finish_reason"], choice["finish_reason"]);
        }
    }
}

#[test]
fn what_the_template_does_not_write_is_refused() {
    let user = json!({"role": "user", "content": "a"});
    let late = json!({"role": "system", "content": "Speak Latin."});
    let mut model = random();
    model.template = Some(Template::smollm3());
    let server = served(model);
    let (status, answer) = server.post(PATH, &json!({"messages": [user, late, user]}));
    let error = &answer["error"];
    assert_eq!((status, &error["param"]), (400, &json!("messages")), "{answer}");
    let told = error["message"].as_str().unwrap();
    assert!(
        told.contains("messages[1].content") && told.contains("Latin"),
        "{told}"
    );

    let mut model = random();
    model.template = Some(Template::chatml());
    let server = served(model);
    for (field, value) in [
        ("tools", tools()),
        ("chat_template_kwargs", json!({"xml_tools": tools()})),
        (
            "chat_template_kwargs",
            json!({"custom_instructions": "Speak Latin."}),
        ),
    ] {
        let mut request = ask("What?");
        request[field] = value;
        let (status, answer) = server.post(PATH, &request);
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(field)),
            "{answer}"
        );
        request["tool_choice"] = json!("none");
        let unused = field == "tools";
        assert_eq!(server.post(PATH, &request).0 == 200, unused);
    }
    // A thought that comes back goes, as templates of models that reason leave it out.
    let mut request = ask("What?");
    request["max_tokens"] = json!(1);
    let turns = request["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "reasoning_content": "Hm.", "content": "b"}));
    turns.push(user);
    server.done(PATH, &request);
}

#[test]
fn without_a_template_there_is_no_chat() {
    let mut model = random();
    model.template = None;
    let (status, refused) = served(model).post(PATH, &ask("Hello?"));
    assert_eq!(status, 400);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("chat template"),
        "{refused}"
    );
}

#[test]
fn an_answer_has_the_room_that_is_left() {
    let server = served(random());
    let answer = server.done(PATH, &ask("Hello?"));
    let total = answer["usage"]["total_tokens"].as_u64().unwrap();
    let is_full = total == support::CONTEXT as u64;
    assert!(is_full || total < support::CONTEXT as u64, "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"] == "length", is_full);
    let (status, refused) = server.post(PATH, &ask(&"Hello? ".repeat(200)));
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("messages")));
}
