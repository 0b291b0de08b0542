use smollm3_chat::explain::tokens;
use smollm3_chat::{Learned, Render, Rendered, Template, encode};

use crate::fixtures::{dated, talk, tokenizer};

#[test]
fn the_texts_are_the_row_and_the_roles_its_turns() {
    let template = Template::smollm3();
    let conversation = talk(&[("user", "Hé 👨‍👩‍👧"), ("assistant", "日本"), ("user", "b")]);
    let rendered = template.render(&conversation, &dated()).unwrap();
    let encoded = encode(&tokenizer(), &rendered).unwrap();
    let mask = template.mask(&encoded, Learned::Assistant).unwrap();
    let explained = tokens(&encoded, &rendered, &mask);

    assert_eq!(
        explained.iter().map(|token| token.id).collect::<Vec<_>>(),
        encoded.ids
    );
    assert_eq!(
        explained
            .iter()
            .map(|token| token.text.as_str())
            .collect::<String>(),
        rendered.text
    );
    assert_eq!(
        explained.iter().map(|token| token.learned).collect::<Vec<_>>(),
        mask
    );
    let mut roles: Vec<&str> = explained
        .iter()
        .map(|token| token.role.as_deref().unwrap())
        .collect();
    for token in &explained {
        assert_eq!(
            token.learned,
            token.role.as_deref() == Some("assistant"),
            "{token:?}"
        );
    }
    roles.dedup();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
}

#[test]
fn text_of_another_convention_has_no_roles() {
    let template = Template::parse("mine", "[INST]{{ messages[0].content }}[/INST]").unwrap();
    let rendered = template
        .render(&talk(&[("user", "a b")]), &Render::default())
        .unwrap();
    let encoded = encode(&tokenizer(), &rendered).unwrap();
    let explained = tokens(&encoded, &rendered, &[true]);
    assert!(explained.iter().all(|token| token.role.is_none()));
    // A mask that is too short teaches nothing more.
    assert!(
        explained
            .iter()
            .enumerate()
            .all(|(index, token)| token.learned == (index == 0))
    );
}

#[test]
fn a_marker_without_a_role_ends_the_turn_before_it() {
    let rendered = Rendered {
        text: "x<|im_start|>user\na<|im_start|>Not a role\nb".into(),
        ..Rendered::default()
    };
    let encoded = encode(&tokenizer(), &rendered).unwrap();
    let explained = tokens(&encoded, &rendered, &[]);
    let roles: Vec<Option<&str>> = explained.iter().map(|token| token.role.as_deref()).collect();
    assert_eq!(roles.first(), Some(&None));
    assert_eq!(roles.get(1), Some(&Some("user")));
    assert_eq!(roles.last(), Some(&None));
}
