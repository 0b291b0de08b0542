//! What is said after the thinking.

use smollm3_chat::spoken;

#[test]
fn the_answer_is_what_follows_the_last_thought() {
    for (text, expected) in [
        ("<think>\n1 + 2 = 3\n</think>\n3", Some("\n3")),
        // The template has opened the thought.
        ("1 + 2 = 3</think>3", Some("3")),
        ("<think>a</think>b<think>c</think>d", Some("d")),
        ("<think></think>", Some("")),
        (" 42 \n", Some(" 42 \n")),
        ("", Some("")),
        ("<think>\nnever ends 42", None),
    ] {
        assert_eq!(spoken(text), expected, "{text}");
    }
}
