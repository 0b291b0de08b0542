use std::path::Path;

use smollm3_corpus::text::{CargoSources, CargoText, DocumentSource};

/// The workspace these tests belong to: its own crates must not appear, its dependencies must.
fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
}

#[test]
fn the_locked_crates_give_prose_and_code_in_a_fixed_order() {
    for (text, extension, least) in [
        (CargoText::Markdown, "md", 1_000_000),
        (CargoText::Rust, "rs", 20_000_000),
    ] {
        let found = CargoSources::find(workspace(), text).unwrap();
        assert_eq!(found.documents(), found.report().files);
        assert!(found.report().bytes > least, "{:?}", found.report());
        assert!(
            found
                .files()
                .iter()
                .all(|path| path.extension().unwrap() == extension)
        );
        assert!(
            !found
                .files()
                .iter()
                .any(|path| path.starts_with(workspace().parent().unwrap()))
        );

        let again = CargoSources::find(workspace(), text).unwrap();
        assert_eq!(found.files(), again.files());
        assert_eq!(found.fingerprint(), again.fingerprint());

        let first = found.document(0).unwrap();
        assert_eq!(first, std::fs::read_to_string(&found.files()[0]).unwrap());
        let lengths: u64 = (0..found.documents())
            .map(|i| found.document(i).unwrap().len() as u64)
            .sum();
        assert_eq!(lengths, found.report().bytes);
        assert!(found.document(found.documents()).is_err());
    }
}

#[test]
fn without_a_lock_file_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("Cargo.toml");
    std::fs::write(
        &manifest,
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[lib]\npath = \"x.rs\"\n",
    )
    .unwrap();
    let error = CargoSources::find(&manifest, CargoText::Rust)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Cargo.lock") && error.contains("cargo fetch --locked"),
        "{error}"
    );
    let absent = CargoSources::find(folder.path().join("none/Cargo.toml"), CargoText::Rust);
    assert!(
        absent.unwrap_err().to_string().contains("none"),
        "the manifest is named"
    );
}
