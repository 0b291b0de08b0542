//! Whatever way text comes, its pieces are the text, and no stop text is ever shown.

use proptest::prelude::*;
use smollm3_corpus::Tokenizer;
use smollm3_inference::Pieces;

fn tokenizer() -> Tokenizer {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/tokenizer/tokenizer.json"
    );
    Tokenizer::load(path).unwrap()
}

fn shown(tokenizer: &Tokenizer, text: &str, stop: &[String]) -> (String, String, bool) {
    let mut pieces = Pieces::new(tokenizer, stop);
    let mut shown = String::new();
    for token in tokenizer.encode(text).unwrap() {
        shown += pieces.push(token);
        assert!(stop.iter().all(|stop| !shown.contains(stop.as_str())), "{shown}");
    }
    shown += pieces.finish();
    (shown, pieces.text().to_owned(), pieces.stopped())
}

#[test]
fn a_text_ends_before_the_first_stop_text() {
    let tokenizer = tokenizer();
    let stop = ["\n\n".to_owned(), "Question:".to_owned()];
    let (shown, text, stopped) = shown(&tokenizer, "Grüße, 漢字!\nQuest Question: no\n\nnever", &stop);
    assert_eq!(shown, "Grüße, 漢字!\nQuest ");
    assert_eq!(text, shown);
    assert!(stopped);
}

#[test]
fn the_stop_text_that_is_complete_first_ends_the_text() {
    let tokenizer = tokenizer();
    let stop = ["<", "\n<\n"].map(str::to_owned);
    assert_eq!(shown(&tokenizer, "a\n<\nb", &stop).0, "a\n");
}

/// Decoding all of a long answer at each of its tokens would take minutes.
#[test]
fn the_last_token_of_many_takes_as_long_as_the_first() {
    let tokenizer = tokenizer();
    let stop = ["never said".to_owned()];
    let mut pieces = Pieces::new(&tokenizer, &stop);
    let tokens = tokenizer.encode("Grüße, 漢字!\n").unwrap().repeat(10_000);
    let begin = std::time::Instant::now();
    let shown: usize = tokens.iter().map(|token| pieces.push(*token).len()).sum();
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    assert_eq!(shown, 10_000 * "Grüße, 漢字!\n".len());
}

proptest! {
    /// As a model writes them: also half characters, and bytes that are none.
    #[test]
    fn any_tokens_have_the_text_of_all(tokens in prop::collection::vec(0u32..1024, 0..60)) {
        let tokenizer = tokenizer();
        let mut pieces = Pieces::new(&tokenizer, &[]);
        let mut shown = String::new();
        for (count, token) in tokens.iter().enumerate() {
            shown += pieces.push(*token);
            let all = tokenizer.decode(&tokens[..=count], true).unwrap();
            prop_assert_eq!(&shown, all.trim_end_matches('\u{fffd}'));
        }
        prop_assert_eq!(shown, pieces.text());
    }

    #[test]
    fn pieces_add_up(text in "[a-c<>é漢\n ]{0,40}", stop in prop::collection::vec("[a-c<>é\n]{1,3}", 0..3)) {
        let tokenizer = tokenizer();
        let (shown, text_after, stopped) = shown(&tokenizer, &text, &stop);
        let found = stop.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop.len())));
        let end = found.map(|(start, length)| (start + length, start)).min().map(|(_, start)| start);
        prop_assert_eq!(&shown, &text_after);
        prop_assert_eq!(stopped, end.is_some());
        prop_assert_eq!(&shown, &text[..end.unwrap_or(text.len())]);
    }
}
