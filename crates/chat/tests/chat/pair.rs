use serde_json::{Value, json};
use smollm3_chat::{Pair, Render, Template, render_pair};

use crate::fixtures::{dated, read};

#[test]
fn pairs_are_rendered_as_by_trl() {
    let file = read("chat/chat_tokens.json");
    let cases = file["preference"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let mut pair = Pair::from_row(&case["example"]).unwrap();
        let rendered = render_pair(&Template::smollm3(), &pair, &dated()).unwrap();
        let expected = &case["trl_0.24.0"];
        assert_eq!(json!(rendered.prompt), expected["prompt"], "{}", case["name"]);
        assert_eq!(json!(rendered.chosen), expected["chosen"], "{}", case["name"]);
        assert_eq!(json!(rendered.rejected), expected["rejected"], "{}", case["name"]);

        // Older versions did not pass the row's settings on.
        pair.template_kwargs.clear();
        let rendered = render_pair(&Template::smollm3(), &pair, &dated()).unwrap();
        let expected = &case["trl_0.19.1 (chat_template_kwargs are ignored there)"];
        assert_eq!(json!(rendered.prompt), expected["prompt"], "{}", case["name"]);
        assert_eq!(json!(rendered.rejected), expected["rejected"], "{}", case["name"]);
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
        &Template::chatml(),
        &Pair::from_row(&row).unwrap(),
        &Render::default(),
    )
    .unwrap();
    assert_eq!(
        rendered.prompt,
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nIt is"
    );
    assert_eq!(
        rendered.chosen,
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
    let rendered = render_pair(&template, &Pair::from_row(&row).unwrap(), &Render::default()).unwrap();
    assert_eq!(rendered.prompt, "[user]q[assistant]");
    assert_eq!(
        (rendered.chosen.as_str(), rendered.rejected.as_str()),
        ("<think>é</think>a", "b")
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
    let error = render_pair(&Template::chatml(), &pair, &Render::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("ends with the role `system`"), "{error}");
}
