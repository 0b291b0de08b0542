use serde_json::json;
use smollm3_chat::{ChatError, Conversation, Learned, Render, Rendered, Template, encode, encode_prompt};
use smollm3_corpus::Tokenizer;

use crate::fixtures::{conversation, options, read, talk, template, tokenizer};

#[test]
fn tokens_and_masks_are_those_of_transformers() {
    let tokenizer = tokenizer();
    let (chat, expected) = (read("chat/chat.json"), read("chat/chat_tokens.json"));
    let cases = expected["masked"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for expected in cases {
        let case = chat["cases"]
            .as_array()
            .unwrap()
            .iter()
            .find(|case| case["name"] == expected["name"])
            .unwrap();
        let template = template(case["template"].as_str().unwrap());
        let rendered = template.render(&conversation(case), &options(case)).unwrap();
        let encoded = encode(&tokenizer, &rendered).unwrap();
        assert_eq!(json!(encoded.ids), expected["input_ids"], "{}", case["name"]);
        let mask: Vec<u8> = encoded.assistant.iter().map(|masked| u8::from(*masked)).collect();
        assert_eq!(json!(mask), expected["assistant_masks"], "{}", case["name"]);
        let kept: Vec<u32> = encoded
            .ids
            .iter()
            .zip(&encoded.assistant)
            .filter(|(_, kept)| **kept)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(
            json!(tokenizer.decode(&kept, false).unwrap()),
            expected["decoded_masked"]
        );
    }
}

/// `spans.json` was made with transformers 4.57.6: `apply_chat_template` with `return_assistant_tokens_mask`
/// on templates whose blocks end in the middle of words and of characters of several tokens.
#[test]
fn spans_inside_words_and_wide_characters_are_masked_as_in_transformers() {
    let tokenizer = tokenizer();
    for case in read("chat/spans.json").as_array().unwrap() {
        let template = Template::parse("mine", case["template"].as_str().unwrap()).unwrap();
        let rendered = template
            .render(&talk(&[("user", "x")]), &Render::default())
            .unwrap();
        let encoded = encode(&tokenizer, &rendered).unwrap();
        assert_eq!(json!(encoded.ids), case["input_ids"], "{case}");
        let mask: Vec<u8> = encoded.assistant.iter().map(|masked| u8::from(*masked)).collect();
        match rendered.assistant.iter().all(|span| span.is_empty()) {
            // transformers learns the token around an empty block, in which nobody said anything.
            true => assert_eq!((mask, &case["assistant_masks"]), (vec![0], &json!([1])), "{case}"),
            false => assert_eq!(json!(mask), case["assistant_masks"], "{case}"),
        }
    }
}

#[test]
fn a_choice_of_loss_picks_the_tokens() {
    let tokenizer = tokenizer();
    let template = Template::builtin("chatml-masked").unwrap();
    let conversation = talk(&[
        ("user", "a"),
        ("assistant", "one"),
        ("user", "b"),
        ("assistant", "two"),
    ]);
    let rendered = template.render(&conversation, &Render::default()).unwrap();
    let encoded = encode(&tokenizer, &rendered).unwrap();
    let text = |learned| {
        let mask = template.mask(&encoded, learned).unwrap();
        assert_eq!(mask.len(), encoded.ids.len());
        let kept: Vec<u32> = encoded
            .ids
            .iter()
            .zip(mask)
            .filter(|(_, kept)| *kept)
            .map(|(id, _)| *id)
            .collect();
        tokenizer.decode(&kept, false).unwrap()
    };
    assert_eq!(text(Learned::Assistant), "one<|im_end|>two<|im_end|>");
    assert_eq!(text(Learned::LastTurn), "two<|im_end|>");
    assert_eq!(text(Learned::All), rendered.text);

    let asked = template
        .render(&talk(&[("user", "a")]), &Render::default())
        .unwrap();
    let encoded = encode(&tokenizer, &asked).unwrap();
    for learned in [Learned::Assistant, Learned::LastTurn] {
        assert!(template.mask(&encoded, learned).unwrap().iter().all(|kept| !kept));
    }
}

#[test]
fn an_answer_without_weight_is_not_learned() {
    let tokenizer = tokenizer();
    let template = Template::builtin("chatml-masked").unwrap();
    let row = |key: &str, weight: serde_json::Value| {
        json!({"messages": [
            {"role": "user", "content": "a", key: 0},
            {"role": "assistant", "content": "one <|im_end|>", key: weight},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "c"},
        ]})
    };
    let first = "one <|im_end|><|im_end|>";
    for (key, weight, learned) in [
        ("weight", json!(0), ""),
        ("weight", json!(0.0), ""),
        ("train", json!(false), ""),
        ("weight", json!(1), first),
        ("train", json!(true), first),
        ("weight", json!(null), first),
    ] {
        let talk = Conversation::from_row(&row(key, weight)).unwrap();
        let rendered = template
            .render_for(&tokenizer, &talk, &Render::default())
            .unwrap();
        let encoded = encode(&tokenizer, &rendered).unwrap();
        let text = |learned| {
            let mask = template.mask(&encoded, learned).unwrap();
            let kept = encoded.ids.iter().zip(mask).filter(|(_, kept)| *kept);
            let kept: Vec<u32> = kept.map(|(id, _)| *id).collect();
            tokenizer.decode(&kept, false).unwrap()
        };
        assert_eq!(text(Learned::Assistant), format!("{learned}two<|im_end|>"));
        assert_eq!(text(Learned::LastTurn), "two<|im_end|>");
        assert_eq!(text(Learned::All), rendered.text.replace(first, learned));
    }
    // Which tokens are an answer's must be known, where there is a loss.
    let talk = Conversation::from_row(&row("weight", json!(0))).unwrap();
    let chatml = Template::chatml();
    let rendered = chatml.render_for(&tokenizer, &talk, &Render::default()).unwrap();
    let error = encode(&tokenizer, &rendered).unwrap_err().to_string();
    assert!(error.contains("marks 0 of 2 answers"), "{error}");
    encode_prompt(&tokenizer, &chatml, &talk, None).unwrap();
}

#[test]
fn a_template_that_marks_nothing_serves_loss_on_all_tokens_only() {
    let chatml = Template::chatml();
    let rendered = chatml
        .render(&talk(&[("assistant", "x")]), &Render::default())
        .unwrap();
    let encoded = encode(&tokenizer(), &rendered).unwrap();
    for learned in [Learned::Assistant, Learned::LastTurn] {
        let error = chatml.mask(&encoded, learned).unwrap_err();
        assert!(matches!(&error, ChatError::Unmarked { template } if template == "chatml"));
        let text = error.to_string();
        for says in ["loss on all tokens", "{% generation %}", "smollm3, chatml-masked"] {
            assert!(text.contains(says), "{text}");
        }
    }
    assert!(
        chatml
            .mask(&encoded, Learned::All)
            .unwrap()
            .iter()
            .all(|kept| *kept)
    );
    assert!(chatml.check_learned(Learned::All).is_ok());
}

#[test]
fn a_turn_of_the_first_token_alone_does_not_spread() {
    // transformers takes the token 0 for "no such token" and masks the whole row.
    let template = Template::parse("mine", "{% generation %}a{% endgeneration %} b").unwrap();
    let rendered = template.render(&talk(&[]), &Render::default()).unwrap();
    let encoded = encode(&tokenizer(), &rendered).unwrap();
    assert_eq!(encoded.assistant, [true, false]);
}

#[test]
fn no_tokens_are_added_and_none_is_needed() {
    let tokenizer = tokenizer();
    let encoded = encode(&tokenizer, &Rendered::default()).unwrap();
    assert!(encoded.ids.is_empty() && encoded.turns.is_empty());

    // A tokenizer that puts a token before every text does not do so here.
    let mut json: serde_json::Value = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [1018], "tokens": ["<|begin_of_text|>"]}},
    });
    let adding = Tokenizer::from_json("adding", json.to_string().as_bytes()).unwrap();
    let rendered = Rendered {
        text: "a b".into(),
        ..Rendered::default()
    };
    assert_eq!(
        encode(&adding, &rendered).unwrap(),
        encode(&tokenizer, &rendered).unwrap()
    );
    assert_eq!(adding.inner().encode("a b", true).unwrap().get_ids()[0], 1018);
}
