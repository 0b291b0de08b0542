//! Which rows become prompts, and which answers become rows.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_chat::{Conversation, Pair};
use smollm3_synthesis::answer::with_thought;
use smollm3_synthesis::{Answer, BadRows, Finish, Form, LeftOut};
use support::server::{Reply, Server};
use support::{Bench, endpoint};

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn prompts_are_read_from_all_usual_columns() {
    let (system, assistant) = (
        json!({"role": "system", "content": "s"}),
        json!({"role": "assistant", "content": "a"}),
    );
    let mut bench = Bench::new(&[
        json!({"prompt": "one", "id": 3}),
        json!({"question": "two", "answer": 2}),
        json!({"prompt": [], "messages": [user("three"), assistant]}),
        json!({"messages": [system, user("four"), assistant, user("five")], "chat_template_kwargs": {"enable_thinking": false, "xml_tools": null}}),
        json!({"prompt": [user("six")], "chosen": [assistant], "tools": []}),
        json!({"question": "seven", "system": "s"}),
        json!({"conversations": [{"from": "human", "value": "eight"}], "system": "s"}),
        json!({"messages": [user("nine")], "system_prompt": "s"}),
        json!({"messages": [system, user("ten")], "system": "s"}),
    ]);
    let asked = |bench: &Bench| -> Vec<Conversation> {
        bench
            .prompts()
            .iter()
            .map(|prompt| prompt.unwrap().conversation)
            .collect()
    };
    let found = asked(&bench);
    let messages: Vec<&Vec<Value>> = found.iter().map(|conversation| &conversation.messages).collect();
    assert_eq!(messages[0], &[user("one")]);
    assert_eq!(messages[1], &[user("two")]);
    assert_eq!(messages[2], &[user("three")]);
    assert_eq!(
        messages[3],
        &[system.clone(), user("four"), assistant, user("five")]
    );
    assert_eq!(messages[4], &[user("six")]);
    assert_eq!(messages[5], &[system.clone(), user("seven")]);
    assert_eq!(messages[6], &[system.clone(), user("eight")]);
    assert_eq!(messages[7], &[system.clone(), user("nine")]);
    assert_eq!(messages[8], &[system.clone(), user("ten")]);
    assert_eq!(json!(found[3].template_kwargs), json!({"enable_thinking": false}));
    bench.asking.system = Some("told".to_owned());
    bench.asking.think = Some(true);
    let found = asked(&bench);
    assert_eq!(found[0].messages[0]["content"], "told");
    for own in [3, 5, 6, 7, 8] {
        assert_eq!(found[own].messages[0], system, "a row's own system message stays");
    }
    assert!(
        found
            .iter()
            .all(|conversation| conversation.template_kwargs["enable_thinking"] == true)
    );
}

#[test]
fn rows_without_a_prompt_stop_the_work_or_are_counted() {
    let bad = [
        (json!({"text": "x"}), "needs one of prompt, question, messages"),
        (json!({"prompt": " "}), "neither text nor a list"),
        (json!({"prompt": 3}), "neither text nor a list"),
        (json!({"messages": []}), "needs one of the user"),
        (
            json!({"messages": [{"role": "assistant", "content": "a"}]}),
            "needs one of the user",
        ),
        (
            json!({"messages": [{"role": "system", "content": "s"}]}),
            "role `system`",
        ),
        (json!({"messages": [{"role": "bot"}, user("a")]}), "role `bot`"),
        (
            json!({"messages": [{"role": "system", "content": "s"}, user("a")], "system": "t"}),
            "two system messages",
        ),
        (json!({"prompt": "x", "tools": [{"name": "f"}]}), "`tools`"),
        (json!({"prompt": "x", "functions": [{"name": "f"}]}), "`tools`"),
        (json!({"prompt": "<image> x", "image": "a.png"}), "has `image`"),
        (
            json!({"prompt": "x", "chat_template_kwargs": {"messages": 1}}),
            "`messages`",
        ),
    ];
    for (row, words) in &bad {
        let bench = Bench::new(&[json!({"prompt": "good"}), row.clone()]);
        let error = bench.prompts().survey(|_| Ok(())).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains(words),
            "{words} is missing: {error}"
        );
    }
    let mut rows: Vec<Value> = bad.iter().map(|(row, _)| row.clone()).collect();
    rows.insert(4, json!({"prompt": "good"}));
    let mut bench = Bench::new(&rows);
    bench.asking.bad_rows = BadRows::Skip;
    let survey = bench.prompts().survey(|_| Ok(())).unwrap();
    assert_eq!((survey.prompts, survey.bad_rows), (1, bad.len() as u64));
    assert!(survey.example.unwrap().contains("line 1"));
    // Numbers are those of rows, good or bad: mending one moves no other.
    assert_eq!(bench.prompts().iter().next().unwrap().unwrap().index, 4);
    bench.asking.limit = Some(4);
    assert_eq!(bench.prompts().iter().count(), 0);
}

/// The prompt has the answers, a line for each model or sample.
fn scripted() -> Server {
    let turn = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    Server::start(move |request, _| {
        let said = request.said();
        let lines: Vec<&str> = said.lines().collect();
        let line = match request.body["model"].as_str().unwrap() {
            "strong" => 0,
            "weak" => 1,
            _ => {
                let mut turn = turn.lock().unwrap();
                let next = turn.entry(said.clone()).or_default();
                *next += 1;
                *next - 1
            }
        };
        let (text, finish) = match lines[line].strip_suffix('…') {
            Some(cut) => (cut, "length"),
            None => (lines[line], "stop"),
        };
        Reply::message(json!({"content": text.replace('|', "\n")}), finish)
    })
}

#[test]
fn only_good_pairs_become_rows_unless_asked_for() {
    let server = scripted();
    let prompts = [
        "good\nbad",
        "same\nsame",
        "cut…\nbad",
        "good\n<think>|hm…",
        "<think>|hm|</think>|\nbad",
        "good\n",
        "<think>|hm|</think>|good\n<think>|hm|</think>|bad",
    ];
    // A line of nothing: `lines` would not give it.
    let prompts = prompts.map(|prompt| json!({"prompt": if prompt.ends_with('\n') { format!("{prompt}\n") } else { prompt.to_owned() }}));
    let mut bench = Bench::new(&prompts);
    bench.form = Form::StrongOverWeak;
    let models = || ["strong", "weak"].map(|name| endpoint(name, &server.address, name));
    let written = bench.done(&models());
    let left_out = BTreeMap::from([(LeftOut::Equal, 1), (LeftOut::CutOff, 2), (LeftOut::Empty, 2)]);
    assert_eq!(
        (written.rows, written.waiting, written.left_out),
        (2, 0, left_out)
    );
    let rows = bench.rows();
    let pairs: Vec<Pair> = rows.iter().map(|row| Pair::from_row(row).unwrap()).collect();
    assert_eq!(pairs[0].chosen, [json!({"role": "assistant", "content": "good"})]);
    assert_eq!(
        pairs[0].rejected,
        [json!({"role": "assistant", "content": "bad"})]
    );
    assert_eq!(pairs[1].chosen[0]["content"], "<think>\nhm\n</think>\ngood");
    assert!(rows.iter().all(|row| row.get("chat_template_kwargs").is_none()));

    let asked = server.requests().len();
    for (keep, rows) in [
        (vec![LeftOut::Equal], 3),
        (vec![LeftOut::CutOff], 3),
        (vec![LeftOut::CutOff, LeftOut::Empty], 6),
        (vec![LeftOut::CutOff, LeftOut::Empty, LeftOut::Equal], 7),
    ] {
        bench.keep = keep;
        assert_eq!(bench.done(&models()).rows, rows, "{:?}", bench.keep);
        assert!(bench.rows().iter().all(|row| Pair::from_row(row).is_ok()));
    }
    assert_eq!(server.requests().len(), asked, "nothing is asked again");
}

#[test]
fn one_models_right_answers_are_chosen_over_its_wrong_ones() {
    let server = scripted();
    let row = |answers: [&str; 3]| json!({"prompt": answers.join("\n"), "sum": 5});
    let mut bench = Bench::new(&[
        row(["It is 4.", "It is 5.", "No, 5."]),
        row(["5", "5", "5"]),
        row(["1", "2", "3"]),
        row(["5…", "4…", "…"]),
        row(["<think>|5|</think>|6", "5…", "<think>|6|</think>|5"]),
    ]);
    bench.form = Form::RightOverWrong;
    bench.samples = 3;
    bench.asking.expected = Some("sum".to_owned());
    let mut model = endpoint("model", &server.address, "m");
    // One request after the other, so that the script's lines come in their order.
    if let smollm3_synthesis::Model::Endpoint(endpoint) = &mut model.model {
        endpoint.concurrency = 1;
    }
    let written = bench.done(&[model]);
    let left_out = BTreeMap::from([
        (LeftOut::NoneWrong, 1),
        (LeftOut::NoneRight, 1),
        (LeftOut::CutOff, 1),
    ]);
    assert_eq!((written.rows, written.left_out), (2, left_out));
    let pairs: Vec<Pair> = bench
        .rows()
        .iter()
        .map(|row| Pair::from_row(row).unwrap())
        .collect();
    let said = |pair: &Pair| {
        [&pair.chosen, &pair.rejected].map(|answer| answer[0]["content"].as_str().unwrap().to_owned())
    };
    assert_eq!(said(&pairs[0]), ["It is 5.", "It is 4."]);
    assert_eq!(
        said(&pairs[1]),
        ["<think>\n6\n</think>\n5", "<think>\n5\n</think>\n6"]
    );

    bench.asking.expected = Some("total".to_owned());
    let error = bench.prompts().survey(|_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("`total`"), "{error}");
}

proptest! {
    #[test]
    fn thoughts_and_words_come_apart_again(thought in "[a-z 0-9\n]{0,20}", text in "[a-z 0-9]{0,20}") {
        let answer = |text: String| Answer { text, finish: Finish::Stop, tokens: 1 };
        let apart = answer(with_thought(Some(&thought), &text));
        prop_assert_eq!(apart.said(), text.trim());
        prop_assert_eq!(apart.text.starts_with("<think>\n"), !thought.trim().is_empty());
        // What is whole stays as it is.
        prop_assert_eq!(with_thought(None, &apart.text), apart.text.clone());
        let opened = answer(with_thought(None, &format!("{thought}\n</think>\n\n{text}")));
        prop_assert!(opened.text.starts_with("<think>\n"));
        prop_assert_eq!(opened.said(), text.trim());
        let unfinished = answer(format!("<think>\n{thought}"));
        prop_assert_eq!(unfinished.said(), "");
    }
}
