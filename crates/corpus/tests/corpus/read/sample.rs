use std::fs;

use smollm3_corpus::read::sample_rows;
use smollm3_corpus::shards::LocalShards;

fn files(contents: &[&str]) -> (tempfile::TempDir, LocalShards) {
    let folder = tempfile::tempdir().unwrap();
    for (number, text) in contents.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.jsonl")), text).unwrap();
    }
    let shards = LocalShards::find("s", &[folder.path().to_string_lossy()]).unwrap();
    (folder, shards)
}

#[test]
fn every_file_gives_its_part_and_short_ones_leave_theirs_to_others() {
    let long = "{\"text\":\"abcd\"}\n".repeat(100);
    let (_folder, shards) = files(&[&long, "{\"text\":\"xy\"}\nbroken\n{\"text\":\"\"}\n", &long]);
    let texts = sample_rows(&shards, "text", 62).unwrap();
    // 20 of 62 bytes from the first, 2 there are in the second, the other 40 from the third.
    assert_eq!(texts.iter().filter(|text| *text == "abcd").count(), 15);
    assert_eq!(texts.get(5).map(String::as_str), Some("xy"));
    assert_eq!(texts.len(), 16);
}

#[test]
fn no_text_is_an_error() {
    let (_folder, shards) = files(&["{\"text\":null}\n"]);
    assert!(
        sample_rows(&shards, "text", 10)
            .unwrap_err()
            .to_string()
            .contains("no text")
    );
}
