//! mergekit's configurations: what is read, and what is refused by name.

use std::path::Path;

use smollm3_merge::mergekit::Configuration;
use smollm3_merge::{MergeSettings, TokenizerFrom};
use smollm3_model::hf::FileDtype;

fn parse(text: &str) -> Result<Configuration, String> {
    Configuration::parse(text, Path::new("merge.yaml")).map_err(|error| error.to_string())
}

const MODELS: &str =
    "models:\n- model: a\n  parameters:\n    weight: 9\n- model: b/c\n  parameters: {weight: 1e-1}\n";

#[test]
fn reads_a_linear_merge() {
    let least = parse(&format!("merge_method: linear\n{MODELS}")).unwrap();
    assert_eq!(least.parents, [("a".into(), 9.0), ("b/c".into(), 0.1)]);
    let expected = MergeSettings {
        tokenizer_from: TokenizerFrom::Parent(0),
        ..MergeSettings::default()
    };
    assert_eq!(least.settings, expected);

    let most = "merge_method: linear\nparameters:\n  normalize: false\ndtype: bfloat16\nout_dtype: float16\n\
                tokenizer_source: b/c\n";
    let most = parse(&format!("{most}{MODELS}")).unwrap();
    let expected = MergeSettings {
        normalise: false,
        dtype: Some(FileDtype::F16),
        parents_as: Some(FileDtype::Bf16),
        tokenizer_from: TokenizerFrom::Folder("b/c".into()),
        ..MergeSettings::default()
    };
    assert_eq!(most.settings, expected);

    let wide = parse(&format!("merge_method: linear\ndtype: float32\n{MODELS}")).unwrap();
    assert_eq!(
        (wide.settings.dtype, wide.settings.parents_as),
        (Some(FileDtype::F32), None)
    );
    for source in ["base", "union"] {
        let read = parse(&format!(
            "merge_method: linear\ntokenizer_source: {source}\n{MODELS}"
        ))
        .unwrap();
        assert_eq!(read.settings.tokenizer_from, TokenizerFrom::Parent(0));
    }
}

#[test]
fn names_what_it_does_not_compute() {
    let linear = format!("merge_method: linear\n{MODELS}");
    let cases = [
        (
            linear.replace("linear", "ties"),
            "merge_method: \"ties\" is not computed",
        ),
        (MODELS.to_owned(), "merge_method"),
        ("merge_method: linear\n".to_owned(), "models"),
        (format!("{linear}base_model: a\n"), "base_model"),
        ("merge_method: linear\nslices: []\n".to_owned(), "slices"),
        (
            format!("{linear}dtype: float64\n"),
            "dtype: unknown variant `float64`",
        ),
        (
            format!("{linear}parameters:\n  normalize: 3\n"),
            "parameters.normalize",
        ),
        (format!("{linear}parameters:\n  int8_mask: true\n"), "int8_mask"),
        (
            linear.replace("weight: 9", "weight: [0.1, 0.2]"),
            "models[0].parameters.weight",
        ),
        (linear.replace("weight: 1e-1", "weight: .nan"), ".nan"),
        (
            linear.replace("weight: 9", "weight: 9\n    density: 0.5"),
            "density",
        ),
        (linear.replace("weight: 9", "weight: 9\n    weight: 8"), "weight"),
        (linear.replace("- model: a\n", "- model: a\n  lora: b\n"), "lora"),
        (String::new(), "merge.yaml"),
        ("merge_method: [linear".to_owned(), "merge.yaml"),
        ("- 1\n- 2\n".to_owned(), "merge.yaml"),
    ];
    for (text, named) in cases {
        let message = parse(&text).unwrap_err();
        assert!(
            message.starts_with("merge.yaml: ") && message.contains(named),
            "{text}\n{message}"
        );
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let error = Configuration::read(Path::new("no/such.yaml"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read `no/such.yaml`"), "{error}");
}
