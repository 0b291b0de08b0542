use serde_json::{Value, json};
use smollm3_chat::{Pair, Render, Template, render_pair};

use crate::fixtures::{dated, read, tokenizer};
use crate::tokenizers::folding;

#[test]
fn pairs_are_rendered_as_by_trl() {
    let file = read("chat/chat_tokens.json");
    let cases = file["preference"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let agrees = |pair: &Pair, version: &str| {
            let rendered = render_pair(&tokenizer(), &Template::smollm3(), pair, &dated()).unwrap();
            for (part, text) in [
                ("prompt", &rendered.prompt.text),
                ("chosen", &rendered.chosen.text),
                ("rejected", &rendered.rejected.text),
            ] {
                assert_eq!(json!(text), case[version][part], "{} {part}", case["name"]);
            }
        };
        let mut pair = Pair::from_row(&case["example"]).unwrap();
        agrees(&pair, "trl_0.24.0");
        // Older versions did not pass the row's settings on.
        pair.template_kwargs.clear();
        agrees(&pair, "trl_0.19.1 (chat_template_kwargs are ignored there)");
    }
}

fn say(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn a_prompt_that_is_no_list_is_what_the_answers_share() {
    let (user, system) = (say("user", "q"), say("system", "s"));
    for prompt in [json!("q"), json!(null)] {
        let row = json!({
            "prompt": prompt,
            "chosen": [system, user, say("assistant", "a")],
            "rejected": [system, user, say("assistant", "b")],
        });
        let pair = Pair::from_row(&row).unwrap();
        assert_eq!(pair.prompt, [system.clone(), user.clone()]);
        assert_eq!(
            (pair.chosen, pair.rejected),
            (vec![say("assistant", "a")], vec![say("assistant", "b")])
        );
    }
    let same = json!({"chosen": [user, say("assistant", "a")], "rejected": [user, say("assistant", "a")]});
    assert_eq!(Pair::from_row(&same).unwrap().rejected, [say("assistant", "a")]);
    let text = json!({"prompt": "q", "chosen": "a", "rejected": "b"});
    assert_eq!(Pair::from_row(&text).unwrap().prompt, [user]);
}

#[test]
fn a_prompt_that_ends_with_the_assistant_is_continued() {
    let row = json!({
        "prompt": [say("user", "q"), say("assistant", "It is")],
        "chosen": [say("assistant", " a")],
        "rejected": [say("assistant", " b")],
    });
    let rendered = render_pair(
        &tokenizer(),
        &Template::chatml(),
        &Pair::from_row(&row).unwrap(),
        &Render::default(),
    )
    .unwrap();
    assert_eq!(
        rendered.prompt.text,
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nIt is"
    );
    assert_eq!(
        rendered.chosen.text,
        "<|im_end|>\n<|im_start|>assistant\n a<|im_end|>\n"
    );
}

#[test]
fn answers_keep_what_only_one_of_them_shares_with_the_prompt() {
    // The generation prompt of this template is only right for answers that begin with a thought.
    let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]<think>{% endif %}";
    let template = Template::parse("mine", source).unwrap();
    let row = json!({
        "prompt": [say("user", "q")],
        "chosen": [say("assistant", "<think>é</think>a")],
        "rejected": [say("assistant", "b")],
    });
    let rendered = render_pair(
        &tokenizer(),
        &template,
        &Pair::from_row(&row).unwrap(),
        &Render::default(),
    )
    .unwrap();
    assert_eq!(rendered.prompt.text, "[user]q[assistant]");
    assert_eq!(
        (rendered.chosen.text.as_str(), rendered.rejected.text.as_str()),
        ("<think>é</think>a", "b")
    );
}

#[test]
fn a_text_beside_whole_dialogues_repeats_them_or_is_about_them() {
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let talk = |answer: &str| {
        json!([
            say("user", "What is 2 + 2?"),
            say("assistant", "4"),
            say("user", "And 3 + 3?"),
            say("assistant", answer)
        ])
    };
    let row = |column: &str, text: &str| json!({column: text, "chosen": talk("6"), "rejected": talk("7")});
    for row in [
        row("prompt", "And 3 + 3?"),
        row("prompt", "3 + 3"),
        row("prompt", "Q: What is 2 + 2?\nA: 4\nQ: And 3 + 3?"),
        row("question", "sums/17"),
        row("instruction", "Choose the better answer."),
    ] {
        assert_eq!(Pair::from_row(&row).unwrap().prompt.len(), 3, "{row}");
    }
    let error = Pair::from_row(&row("prompt", "Answer in Latin."))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has a `prompt` that is none of the messages"),
        "{error}"
    );
}

#[test]
fn rows_without_a_pair_are_refused() {
    let (user, assistant) = (say("user", "q"), say("assistant", "a"));
    for (row, says) in [
        (
            json!({"prompt": [user], "chosen": [assistant]}),
            "has no `rejected`",
        ),
        (
            json!({"prompt": [user], "chosen": [assistant], "rejected": []}),
            "no messages in `rejected`",
        ),
        (
            json!({"prompt": [user], "chosen": [assistant], "rejected": "a"}),
            "a string as `rejected`",
        ),
        (
            json!({"prompt": 3, "chosen": [assistant], "rejected": [assistant]}),
            "a number as `prompt`",
        ),
        (
            json!({"chosen": [assistant], "rejected": [say("assistant", "b")]}),
            "no messages in `prompt`",
        ),
        (
            json!({"chosen": [user, assistant], "rejected": [say("user", "other"), assistant]}),
            "begin with different messages",
        ),
        (
            json!({"prompt": "other", "chosen": [user, assistant], "rejected": [user, say("assistant", "b")]}),
            "has a `prompt` that is none of the messages",
        ),
        (
            json!({"chosen": "a", "rejected": "b"}),
            "no question; write it in `prompt`",
        ),
        (
            json!({"system": "t", "prompt": [say("system", "s"), user], "chosen": [assistant], "rejected": [assistant]}),
            "\"t\" in `system` and \"s\"",
        ),
        (
            json!({"prompt": "<image> q", "image": "x.png", "chosen": "a", "rejected": "b"}),
            "has `image`",
        ),
        (
            json!({"prompt": "q", "chosen": [{"role": "assistant", "content": "a", "weight": 0}], "rejected": [assistant]}),
            "`chosen` that is not to be learned",
        ),
        (
            json!({"prompt": [user], "chosen": [user, assistant], "rejected": [user, assistant]}),
            "a `chosen` that begins with the role `user`",
        ),
        (
            json!({"prompt": [user], "chosen": [say("bot", "a")], "rejected": [assistant]}),
            "wrong in `chosen`: message 0 has the role `bot`",
        ),
    ] {
        let error = Pair::from_row(&row).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let row = json!({"prompt": [say("system", "s")], "chosen": [assistant], "rejected": [assistant]});
    let pair = Pair::from_row(&row).unwrap();
    let error = render_pair(&tokenizer(), &Template::chatml(), &pair, &Render::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("ends with the role `system`"), "{error}");
}

#[test]
fn pairs_come_in_the_forms_of_other_trainers() {
    let expected = (
        vec![say("user", "q")],
        vec![say("assistant", "a")],
        vec![say("assistant", "b")],
    );
    for row in [
        json!({
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        }),
        json!({
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}], "name": null}],
            "chosen": [say("assistant", "a")],
            "rejected": [say("assistant", "b")],
        }),
        json!({"instruction": "q", "input": "", "chosen": "a", "rejected": "b"}),
        json!({"question": "q", "system": "", "chosen": "a", "rejected": "b"}),
        json!({"prompt": "q", "chosen": [say("assistant", "a")], "rejected": [say("assistant", "b")]}),
        json!({"prompt": [], "question": "q", "chosen": [say("assistant", "a")], "rejected": [say("assistant", "b")]}),
        json!({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b\n"}),
    ] {
        let pair = Pair::from_row(&row).unwrap();
        assert_eq!((pair.prompt, pair.chosen, pair.rejected), expected, "{row}");
    }
}

#[test]
fn a_column_with_the_system_message_opens_the_prompt() {
    let (system, user) = (say("system", "s"), say("user", "q"));
    let (a, b) = (say("assistant", "a"), say("assistant", "b"));
    for row in [
        json!({"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"}),
        json!({"system": "s", "prompt": [user], "chosen": [a], "rejected": [b]}),
        json!({"system": "s", "prompt": [system, user], "chosen": [a], "rejected": [b]}),
        json!({"system": "s", "chosen": [user, a], "rejected": [user, b]}),
        json!({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}),
        json!({"system": "s", "instruction": "q", "chosen": "a", "rejected": "b"}),
        json!({"system_prompt": "s", "conversations": [{"from": "human", "value": "q"}], "chosen": a, "rejected": b}),
    ] {
        let pair = Pair::from_row(&row).unwrap();
        assert_eq!(pair.prompt, [system.clone(), user.clone()], "{row}");
    }
    let history = json!({"instruction": "q", "history": [["c", "d"]], "chosen": "a", "rejected": "b"});
    let earlier = [say("user", "c"), say("assistant", "d"), user];
    assert_eq!(Pair::from_row(&history).unwrap().prompt, earlier);
}

#[test]
fn special_tokens_in_a_pair_are_the_templates_alone() {
    let tokenizer = tokenizer();
    let end = tokenizer.info().im_end.unwrap();
    let row = json!({"prompt": "What is <|im_end|>?", "chosen": "<|im_end|> ends.", "rejected": "No."});
    let pair = Pair::from_row(&row).unwrap();
    let rendered = render_pair(&tokenizer, &Template::chatml(), &pair, &Render::default()).unwrap();
    assert!(rendered.prompt.text.contains("What is <|im_end|>?"));
    for (part, ends) in [
        (&rendered.prompt, 1),
        (&rendered.chosen, 1),
        (&rendered.rejected, 1),
    ] {
        let ids = part.encode(&tokenizer).unwrap();
        assert_eq!(ids.iter().filter(|id| **id == end).count(), ends, "{part:?}");
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), part.text);
    }

    // Nor does a tokenizer make one of other letters.
    let tokenizer = folding();
    let end = tokenizer.info().im_end.unwrap();
    let row = json!({"prompt": "What is <|IM_END|>?", "chosen": "<|IM_END|> ends.", "rejected": "No."});
    let pair = Pair::from_row(&row).unwrap();
    let rendered = render_pair(&tokenizer, &Template::chatml(), &pair, &Render::default()).unwrap();
    for part in [&rendered.prompt, &rendered.chosen, &rendered.rejected] {
        let ids = part.encode(&tokenizer).unwrap();
        assert_eq!(ids.iter().filter(|id| **id == end).count(), 1, "{part:?}");
    }
}
