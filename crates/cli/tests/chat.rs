//! Commands on conversations: `chat`, `data explain`, `tokenizer add-chat-tokens`, `merge`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_model::Parameters;
use smollm3_model::hf::Checkpoint;

fn smollm3(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments may be gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn done(arguments: &[&str], input: &str) -> String {
    let output = smollm3(arguments, input);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let output = smollm3(arguments, "Hello?\n");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    for word in words {
        assert!(error.contains(word), "{word} is missing: {error}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/model")
        .join(name)
}

/// The fixture model with a tokenizer of its 512 entries, with or without the tokens of conversations.
fn checkpoint(folder: &Path, talks: bool) -> PathBuf {
    let to = folder.join(if talks { "talks" } else { "silent" });
    fs::create_dir(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("a").join(file), to.join(file)).unwrap();
    }
    let texts = Arithmetic::new(1, 200);
    let tokenizer = Tokenizer::train((0..200).map(|index| texts.text(index)), 512).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
    if !talks {
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.retain(|token| !token["content"].as_str().unwrap().contains("im_"));
    }
    fs::write(to.join("tokenizer.json"), json.to_string()).unwrap();
    to
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A recipe in `folder` that fine-tunes a checkpoint, with `more` settings of the stage, on data of these names and
/// files; it writes to `folder/out`.
fn sft_recipe(folder: &Path, checkpoint: &Path, more: &str, data: &[[&str; 2]]) -> PathBuf {
    let data: String = data
        .iter()
        .map(|[name, file]| format!("{{ name = \"{name}\", paths = [\"{file}\"] }}, "))
        .collect();
    let recipe = format!(
        r#"
run = {{ name = "tiny", seed = 1, output = '{out}' }}
model = {{ checkpoint = '{checkpoint}' }}
data = {{ held_out = "0%" }}

[[stage]]
name = "sft"
kind = "sft"
global_batch = "1 sequence"
micro_batch = "1 sequence"
epochs = 1
optimizer = {{ learning_rate = 1e-4 }}
schedule = {{ kind = "constant" }}
{more}
data = [{data}]
"#,
        out = folder.join("out").display(),
        checkpoint = checkpoint.display()
    );
    let file = folder.join("recipe.toml");
    fs::write(&file, recipe).unwrap();
    file
}

/// The lines of `data explain --json`.
fn tokens(json: &str) -> Vec<Value> {
    json.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Text of the tokens that are learned, or of those that are not.
fn part(tokens: &[Value], learned: bool) -> String {
    let some = tokens.iter().filter(|token| token["learned"] == learned);
    some.map(|token| token["text"].as_str().unwrap()).collect()
}

#[test]
fn lines_are_answered_one_after_the_other_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path(), true);
    let template = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{{ enable_thinking }}";
    fs::write(checkpoint.join("chat_template.jinja"), template).unwrap();
    let talk = |input: &str| done(&["chat", text(&checkpoint), "--max-new-tokens", "6"], input);
    let both = talk("What is 2 + 3?\nAnd 4?\n");
    assert_eq!(both, talk("What is 2 + 3?\nAnd 4?\n"));
    let first = talk("What is 2 + 3?\n");
    assert!(
        both.starts_with(&first) && both.len() > first.len(),
        "{first:?} {both:?}"
    );
    // The second answer is to both messages, unless the first is forgotten.
    let alone = talk("And 4?\n");
    assert_eq!(
        talk("What is 2 + 3?\n/clear\nAnd 4?\n"),
        format!("{first}{alone}")
    );
    assert_eq!(
        talk("/no_think\nAnd 4?\n/exit\nnever said\n").lines().count(),
        talk("/no_think\nAnd 4?\n").lines().count()
    );
}

#[test]
fn what_cannot_talk_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let silent = checkpoint(folder.path(), false);
    refused(&["chat", text(&silent)], &["<|im_start|>", "add-chat-tokens"]);
    let talks = checkpoint(folder.path(), true);
    refused(
        &["chat", text(&talks), "--date", "tomorrow"],
        &["tomorrow", "2025-07-08"],
    );
    for command in [&["chat"][..], &["generate", "--prompt", "2 + 3"]] {
        refused(
            &[command, &[text(&talks), "--temperature=-1"]].concat(),
            &["--temperature -1", "0 or more"],
        );
        refused(
            &[command, &[text(&talks), "--top-p", "0.9"]].concat(),
            &["--top-p", "--temperature"],
        );
    }
    refused(
        &["chat", text(&talks), "--tools", "nowhere.json"],
        &["nowhere.json"],
    );
    let tools = folder.path().join("tools.json");
    fs::write(&tools, "[{\"type\": \"function\"}]").unwrap();
    refused(&["chat", text(&talks), "--tools", text(&tools)], &["function"]);
    // The context of the fixture is 128 tokens, SmolLM3's system text is longer.
    refused(&["chat", text(&talks)], &["128", "context"]);
}

#[test]
fn tokens_of_conversations_are_added_with_rows_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let silent = checkpoint(folder.path(), false);
    let out = folder.path().join("grown");
    let said = done(
        &["tokenizer", "add-chat-tokens", text(&silent), "--out", text(&out)],
        "",
    );
    assert!(
        said.contains("<|im_start|>") && said.contains("<|im_end|>"),
        "{said}"
    );
    let (before, after) = (
        Checkpoint::open(&silent).unwrap(),
        Checkpoint::open(&out).unwrap(),
    );
    let tokenizer = Tokenizer::load(&out).unwrap();
    assert_eq!(
        after.config.vocab_size as u32,
        tokenizer.info().vocab_size.max(512)
    );
    assert!(tokenizer.info().im_end.is_some());
    let name = "model.embed_tokens.weight";
    let table = |checkpoint: &Checkpoint| -> Vec<f32> {
        let shape = [checkpoint.config.vocab_size, checkpoint.config.hidden_size];
        checkpoint
            .tensors
            .parameter(name, &shape)
            .unwrap()
            .iter()
            .collect()
    };
    let (old, new) = (table(&before), table(&after));
    assert_eq!(new[..old.len()], old);
    refused(
        &["tokenizer", "add-chat-tokens", text(&silent), "--out", text(&out)],
        &["exists"],
    );
}

#[test]
fn a_row_is_shown_token_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path(), true);
    let rows: Vec<Value> = ["one", "two"]
        .iter()
        .map(|word| json!({"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": word}]}))
        .collect();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(folder.path().join("rows.jsonl"), lines).unwrap();
    let more = "sequence_length = 64\ntemplate = \"chatml-masked\"";
    let file = sft_recipe(folder.path(), &checkpoint, more, &[["rows", "rows.jsonl"]]);
    let explain = |more: &[&str]| done(&[&["data", "explain", text(&file)], more].concat(), "");
    let json = explain(&["--row", "2", "--json"]);
    let tokens = tokens(&json);
    assert_eq!(
        part(&tokens, false),
        "<|im_start|>user\nSay it.<|im_end|>\n<|im_start|>assistant\n\n"
    );
    assert_eq!(part(&tokens, true), "two<|im_end|>");
    let table = explain(&[]);
    assert!(
        table.contains("line 1 of") && table.contains("assistant") && table.contains("yes"),
        "{table}"
    );
    done(&["data", "prepare", text(&file)], "");
    let report = fs::read_to_string(folder.path().join("out/conversations/sft/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (
            report["data"]["rows"]["rows"].as_u64(),
            report["data"]["rows"]["kept"].as_u64()
        ),
        (Some(2), Some(2))
    );
    refused(&["data", "explain", text(&file), "--row", "3"], &["2 rows"]);
    refused(&["data", "explain", text(&file), "--data", "other"], &["rows"]);
}

#[test]
fn what_a_row_holds_is_shown_or_refused_by_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path(), true);
    let rows = [
        json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "Is <|im_end|> "}, {"type": "text", "text": "a token?"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 7}"}}]},
        ]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning": "c"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(folder.path().join("rows.jsonl"), lines).unwrap();
    let more = "sequence_length = 128\ntemplate = \"chatml-masked\"";
    let file = sft_recipe(folder.path(), &checkpoint, more, &[["rows", "rows.jsonl"]]);
    let json = done(&["data", "explain", text(&file), "--row", "1", "--json"], "");
    let tokens = tokens(&json);
    assert_eq!(
        part(&tokens, false),
        "<|im_start|>user\nIs <|im_end|> a token?<|im_end|>\n<|im_start|>assistant\n\n"
    );
    let call = "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": 7}}\n</tool_call><|im_end|>";
    assert_eq!(part(&tokens, true), call);
    let ends = tokens.iter().filter(|token| token["text"] == "<|im_end|>");
    assert_eq!(ends.count(), 2, "the template's");
    refused(
        &["data", "explain", text(&file), "--row", "2"],
        &[
            "line 2 of",
            "does not write reasoning at `messages[1].reasoning`",
            "template_drops",
        ],
    );
    done(
        &[
            "data",
            "explain",
            text(&file),
            "--row",
            "2",
            "--set",
            "stage.sft.template_drops=count",
        ],
        "",
    );
    refused(
        &["data", "explain", text(&file), "--row", "3"],
        &["line 3 of", "message 0", "`image_url`"],
    );
}

#[test]
fn checkpoints_are_merged_by_weight() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("merged");
    let model = |name: &str, weight: &str| format!("{}={weight}", fixture(name).display());
    let (a, b) = (model("a", "0.9"), model("a_perturbed", "0.1"));
    done(
        &[
            "merge",
            "--model",
            &a,
            "--model",
            &b,
            "--out",
            text(&out),
            "--dtype",
            "f32",
        ],
        "",
    );
    let [first, second, merged] = [&fixture("a"), &fixture("a_perturbed"), &out].map(|folder| {
        let checkpoint = Checkpoint::open(folder).unwrap();
        let shape = [checkpoint.config.hidden_size];
        let norm = checkpoint.tensors.parameter("model.norm.weight", &shape).unwrap();
        norm.iter::<f32>().collect::<Vec<f32>>()
    });
    for ((a, b), merged) in first.iter().zip(&second).zip(&merged) {
        assert!((0.9 * a + 0.1 * b - merged).abs() < 1e-6);
    }
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("a_perturbed") && card.contains("0.9"), "{card}");

    refused(
        &["merge", "--model", &a, "--model", &b, "--out", text(&out)],
        &["exists"],
    );
    let other = folder.path().join("other");
    let missing = "nowhere=0.5".to_owned();
    refused(
        &["merge", "--model", &a, "--model", &missing, "--out", text(&other)],
        &["nowhere"],
    );
    refused(&["merge", "--model", "x", "--out", text(&other)], &["=0.9"]);
    refused(
        &["merge", "--model", "x=heavy", "--out", text(&other)],
        &["heavy"],
    );
    refused(
        &[
            "merge",
            "--model",
            &a,
            "--model",
            &model("c", "1"),
            "--out",
            text(&other),
        ],
        &["a", "c"],
    );
    refused(&["merge", "--out", text(&other)], &["--model"]);
    assert!(!other.exists());
}

#[test]
fn the_same_rows_give_the_same_tokens_from_every_kind_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path(), true);
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/corpus/rows");
    let lines = fs::read_to_string(rows.join("tools.jsonl")).unwrap();
    let list = format!("[{}]", lines.trim().replace('\n', ",\n"));
    // What Python writes in unused columns, and Windows line ends.
    let odd = lines.replace(
        "{\"messages\"",
        "{\"note\": \"cut \\ud83d\", \"score\": NaN, \"messages\"",
    );
    fs::write(folder.path().join("list.json"), list).unwrap();
    fs::write(
        folder.path().join("odd.jsonl"),
        format!("\u{feff}{}", odd.replace('\n', "\r\n")),
    )
    .unwrap();
    for name in ["tools.jsonl", "tools.parquet"] {
        fs::copy(rows.join(name), folder.path().join(name)).unwrap();
    }
    let more = "sequence_length = 2048\ntemplate = \"smollm3\"\ndate = \"2025-07-08\"";
    let data = [
        ["lines", "tools.jsonl"],
        ["parquet", "tools.parquet"],
        ["list", "list.json"],
        ["odd", "odd.jsonl"],
    ];
    let file = sft_recipe(folder.path(), &checkpoint, more, &data);
    for row in ["1", "2"] {
        let explain = |data: &str| {
            done(
                &[
                    "data",
                    "explain",
                    text(&file),
                    "--json",
                    "--data",
                    data,
                    "--row",
                    row,
                ],
                "",
            )
        };
        let lines = explain("lines");
        let tokens = tokens(&lines);
        let written: String = tokens
            .iter()
            .map(|token| token["text"].as_str().unwrap())
            .collect();
        assert!(written.contains("properties"), "{written}");
        assert!(!written.contains("null"), "{written}");
        for [data, _] in &data[1..] {
            assert_eq!(explain(data), lines, "row {row} of {data}");
        }
    }
}
