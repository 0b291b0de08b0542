//! Only what the assistant said is learned, whatever the tokenizer.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;
use smollm3_chat::{Conversation, Learned, Template, encode};

use crate::fixtures::{dated, talk};
use crate::tokenizers::{Kind, kinds};

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(kinds);

/// Templates with spans that begin and end at special tokens, at white space and in the middle of words.
static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let own = [
        "{% for m in messages %}<|im_start|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}\
         {% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}",
        "{% for m in messages %}{% if m.role == 'assistant' %} {% generation %}{{ m.content }} {% endgeneration %} \
         {% else %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'assistant' %}\n\n{% generation %}{{ m.content | trim }}{% endgeneration %}\n\n\
         {% else %}#{{ m.content }}{% endif %}{% endfor %}",
    ];
    let own = own.iter().map(|source| Template::parse("own", source).unwrap());
    own.chain([Template::smollm3(), Template::builtin("chatml-masked").unwrap()])
        .collect()
});

fn words(letters: &'static [&'static str]) -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec![" ", "  ", "\n", "\n\n", "\t", "", "\u{3000}", " \n"]);
    let word = prop::sample::select(letters.to_vec());
    prop::collection::vec((space, word), 0..5).prop_flat_map(|words| {
        let text: String = words
            .iter()
            .map(|(space, word)| format!("{space}{word}"))
            .collect();
        prop::sample::select(vec!["", " ", "\n", "  "]).prop_map(move |end| format!("{text}{end}"))
    })
}

/// Everybody but the assistant writes digits, and the assistant writes none.
fn conversation() -> impl Strategy<Value = Conversation> {
    let others = || words(&["12", "3", "4.", "<|im_end|>", "７８", "9<think>"]);
    let assistants = || {
        words(&[
            "the",
            "answer",
            "é",
            "e\u{301}",
            "🙂",
            "a.",
            "<|im_end|>",
            "</think>",
            "日本",
            "ﬁ",
        ])
    };
    prop::collection::vec((others(), assistants()), 1..4).prop_map(|turns| {
        let messages: Vec<(&str, &str)> = turns
            .iter()
            .flat_map(|(other, said)| [("user", other.as_str()), ("assistant", said.as_str())])
            .collect();
        talk(&messages)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_learned_token_lies_inside_a_span(
        conversation in conversation(),
        kind in 0..11_usize,
        template in 0..5_usize,
    ) {
        let (Kind { tokenizer, faithful }, template) = (&KINDS[kind], &TEMPLATES[template]);
        let rendered = template.render_for(tokenizer, &conversation, &dated()).unwrap();
        let encoded = encode(tokenizer, &rendered).unwrap();
        for choice in [Learned::Assistant, Learned::LastTurn] {
            let mask = template.mask(&encoded, choice).unwrap();
            for (index, _) in mask.iter().enumerate().filter(|(_, learned)| **learned) {
                let bytes = &encoded.offsets[index];
                let inside = rendered.assistant.iter().any(|span| span.start <= bytes.start && bytes.end <= span.end);
                prop_assert!(inside && !bytes.is_empty(), "{} {:?}", tokenizer.name(), &rendered.text[bytes.clone()]);
                // The token itself, not what its offsets say of it.
                let token = tokenizer.inner().id_to_token(encoded.ids[index]).unwrap();
                prop_assert!(!token.chars().any(|c| c.is_ascii_digit()), "{}: {token}", tokenizer.name());
            }
        }
        // With exact offsets, and spans between special tokens, nothing of the assistant is missing.
        if *faithful && template.name() == "smollm3" {
            let learned = encoded.ids.iter().zip(&encoded.assistant).filter(|(_, learned)| **learned);
            let learned: Vec<u32> = learned.map(|(id, _)| *id).collect();
            let said: String = rendered.assistant.iter().map(|span| &rendered.text[span.clone()]).collect();
            prop_assert_eq!(tokenizer.decode(&learned, false).unwrap(), said);
        }
    }

    #[test]
    fn special_tokens_are_the_templates_alone(
        conversation in conversation(),
        kind in 0..11_usize,
        template in 0..5_usize,
    ) {
        let (Kind { tokenizer, .. }, template) = (&KINDS[kind], &TEMPLATES[template]);
        let ids = ["<|im_start|>", "<|im_end|>"].map(|token| tokenizer.inner().token_to_id(token).unwrap());
        let count = |conversation: &Conversation| {
            let rendered = template.render_for(tokenizer, conversation, &dated()).unwrap();
            let encoded = encode(tokenizer, &rendered).unwrap();
            (rendered.text, ids.map(|id| encoded.ids.iter().filter(|found| **found == id).count()))
        };
        // The same without anything that could be taken for one.
        let mut plain = conversation.clone();
        for message in &mut plain.messages {
            message["content"] = json!(message["content"].as_str().unwrap().replace("<|im_end|>", "(|im_end|>"));
        }
        let (text, found) = count(&conversation);
        let (other, expected) = count(&plain);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(text.replace("<|im_end|>", ""), other.replace("(|im_end|>", "").replace("<|im_end|>", ""));
    }
}

#[test]
fn text_without_special_tokens_is_encoded_as_ever() {
    for Kind { tokenizer, .. } in KINDS.iter().filter(|kind| kind.tokenizer.name() != "cut short") {
        let template = Template::builtin("chatml-masked").unwrap();
        let talk = talk(&[
            ("user", " Hé 12\n"),
            ("assistant", "the <think>answer</think> é "),
        ]);
        let rendered = template.render_for(tokenizer, &talk, &dated()).unwrap();
        let encoding = tokenizer.inner().encode(rendered.text.as_str(), false).unwrap();
        assert_eq!(
            encode(tokenizer, &rendered).unwrap().ids,
            encoding.get_ids(),
            "{}",
            tokenizer.name()
        );
    }
}
