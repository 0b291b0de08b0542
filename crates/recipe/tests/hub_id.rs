//! Names of models on the Hub.

use smollm3_recipe::HubId;

fn id(repository: &str, revision: &str, folder: &str) -> Option<HubId> {
    Some(HubId {
        repository: repository.to_owned(),
        revision: revision.to_owned(),
        folder: folder.to_owned(),
    })
}

#[test]
fn every_form_is_read() {
    let cases = [
        ("owner/name", id("owner/name", "main", ""), "owner/name"),
        ("owner/name@v1.0", id("owner/name", "v1.0", ""), "owner/name@v1.0"),
        (
            "owner/name@refs/pr/1",
            id("owner/name", "refs/pr/1", ""),
            "owner/name@refs/pr/1",
        ),
        (
            "owner/name@refs%2Fpr%2F1",
            id("owner/name", "refs/pr/1", ""),
            "owner/name@refs/pr/1",
        ),
        ("hf://owner/name", id("owner/name", "main", ""), "owner/name"),
        (
            "hf://models/owner/name@v1",
            id("owner/name", "v1", ""),
            "owner/name@v1",
        ),
        (
            "hf://owner/name/a/b/",
            id("owner/name", "main", "a/b"),
            "owner/name/a/b",
        ),
        (
            "hf://owner/name@refs%2Fpr%2F1/a",
            id("owner/name", "refs/pr/1", "a"),
            "owner/name@refs/pr/1/a",
        ),
        (
            "HuggingFaceTB/SmolLM3-3B",
            id("HuggingFaceTB/SmolLM3-3B", "main", ""),
            "HuggingFaceTB/SmolLM3-3B",
        ),
    ];
    for (text, expected, shown) in cases {
        assert_eq!(HubId::parse(text), expected, "{text}");
        assert_eq!(expected.unwrap().to_string(), shown);
    }
}

#[test]
fn other_texts_are_none() {
    let long = format!("owner/{}", "n".repeat(97));
    for text in [
        "",
        "name",
        "owner/",
        "/name",
        "a/b/c",
        "./a",
        "../a",
        "a/..",
        ".a/b",
        "a/b.",
        "a/-b",
        "a--b/c",
        "a/b@",
        "a/b@../x",
        "a/b@x//y",
        "a b/c",
        "hf://",
        "hf://owner",
        "hf://datasets/a/b",
        "hf://spaces/a/b",
        "hf://a/b/../c",
        "hf://a/b@/c",
        "hf://a/b/c//d",
        "hf://a/b/c\\d",
        "s3://a/b",
        "https://huggingface.co/a/b",
        long.as_str(),
    ] {
        assert_eq!(HubId::parse(text), None, "{text}");
    }
}
