//! A kill in the middle of a line.

use proptest::prelude::*;
use smollm3_files::{LineFile, line};

proptest! {
    /// Wherever a kill cuts the file, what comes later is read, and of what was there at most the last line is lost.
    #[test]
    fn a_line_that_was_cut_off_spoils_no_other(
        texts in prop::collection::vec("[a-zé\\n]{0,40}", 0..6),
        long in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut texts = texts;
        texts.extend(long.then(|| "x".repeat(200_000)));
        let whole: String = texts.iter().map(line).collect();
        let cut = cut.index(whole.len() + 1);
        std::fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
        let mut file = LineFile::append_to(&path).unwrap();
        file.add(&"new");
        file.finish().unwrap();
        let read: Vec<String> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        // A line without its end only is whole.
        let mut expected: Vec<String> = Vec::new();
        let mut end = 0;
        for text in texts {
            end += line(&text).len();
            expected.extend((end <= cut + 1).then_some(text));
        }
        expected.push("new".to_owned());
        prop_assert_eq!(read, expected);
    }
}
