//! Every reader of this crate on files with random changes: it ends in rows or in an error, never in a panic.
//! A binary of its own, because it listens to the panics of all threads. `scripts/verify/mutation.sh` runs it
//! for minutes.

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use smollm3_corpus::read::{self, Columns, Position};
use smollm3_corpus::{TokenStore, Tokenizer};

use mutate::{mutated, seconds, seed};

/// A file that is read as rows.
fn read_rows(path: &Path) {
    let name = path.to_str().unwrap();
    let _ = read::count_rows(path, name);
    for columns in [Columns::All, Columns::named(["messages", "text"])] {
        for batch in read::open_values(path, name, &columns)
            .into_iter()
            .flatten()
            .flatten()
        {
            (0..batch.rows.len()).for_each(|row| drop((batch.place(row), batch.replaced(row))));
        }
    }
    for from in [Position::default(), Position { rows: 1, bytes: 40 }] {
        for batch in read::open(path, name, "text", from)
            .into_iter()
            .flatten()
            .flatten()
        {
            (0..batch.len()).for_each(|row| drop((batch.text(row).map(|_| ()), batch.position_after(row))));
        }
    }
}

/// A token store whose other files are whole.
fn read_store(path: &Path) {
    let Ok(store) = TokenStore::open(path.parent().unwrap()) else {
        return;
    };
    let _ = (store.len_tokens(), store.fingerprint());
    for document in 0..store.documents().unwrap_or(0).min(1_000) {
        let _ = store.document(document).map(|tokens| tokens.iter().count());
    }
}

fn read_tokenizer(path: &Path) {
    if let Ok(tokenizer) = Tokenizer::load(path) {
        let text = "one 2 three\n<|im_end|>";
        for ids in [
            tokenizer.encode(text),
            tokenizer.encode_text(text),
            tokenizer.prompt(text),
        ] {
            let _ = ids.map(|ids| tokenizer.decode(&ids, false));
        }
        let _ = tokenizer.fingerprint();
    }
}

/// Bytes at which a decoder has panicked.
const DAMAGE: [(&str, usize, u8); 1] = [("rows/types.parquet", 4180, 166)];

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/corpus")
}

type Reader = fn(&Path);

/// Files, each with its reader; a `.ds` takes its companions along.
fn files() -> Vec<(PathBuf, Reader)> {
    let corpus = corpus();
    let rows = [
        "rows/nested.parquet",
        "rows/types.parquet",
        "rows/tools.parquet",
        "rows/tools.jsonl",
        "rows/nested.json",
        "rows/encrypted-column.parquet",
        "packed/rows.jsonl",
        "packed/members.jsonl.gz",
        "packed/frames.jsonl.zst",
        "packed/streams.jsonl.bz2",
        "packed/streams.jsonl.xz",
    ];
    let mut files: Vec<_> = rows.map(|name| (corpus.join(name), read_rows as Reader)).into();
    for name in ["narrow.ds", "narrow.ds.index", "narrow.ds.metadata", "wide.ds"] {
        files.push((corpus.join("datatrove").join(name), read_store));
    }
    files.push((corpus.join("datatrove/tokenizer.json"), read_tokenizer));
    files
}

#[test]
fn no_reader_panics() {
    // Decoders of Parquet have threads of their own, so panics are seen by the hook.
    static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| PANICS.lock().unwrap().push(info.to_string())));

    let files = files();
    let mut rng = ChaCha8Rng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let (begin, most) = (Instant::now(), seconds(4));
    let (mut runs, mut slowest) = (0u64, 0.0f64);
    let mut found = Vec::new();
    for (name, at, byte) in DAMAGE {
        let mut bytes = fs::read(corpus().join(name)).unwrap();
        bytes[at] = byte;
        let path = folder.path().join("damaged.parquet");
        fs::write(&path, bytes).unwrap();
        read_rows(&path);
        let panics = PANICS.lock().unwrap().drain(..).collect::<Vec<_>>();
        found.extend(panics.iter().map(|panic| format!("{name}, byte {at}: {panic}")));
    }
    while begin.elapsed() < most && found.len() < 20 {
        let (file, reader) = &files[rng.random_range(0..files.len())];
        let name = file.file_name().unwrap().to_str().unwrap();
        if let Some(stem) = name.find(".ds").map(|end| &name[..end]) {
            for ending in ["ds", "ds.index", "ds.metadata"] {
                let companion = format!("{stem}.{ending}");
                fs::copy(file.with_file_name(&companion), folder.path().join(companion)).unwrap();
            }
        }
        let path = folder.path().join(name);
        let bytes = mutated(&fs::read(file).unwrap(), &mut rng);
        fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let _ = catch_unwind(AssertUnwindSafe(|| reader(&path)));
        slowest = slowest.max(start.elapsed().as_secs_f64());
        runs += 1;
        for panic in PANICS.lock().unwrap().drain(..) {
            let kept = std::env::temp_dir().join(format!("smollm3-mutation-{}-{runs}-{name}", seed()));
            fs::write(&kept, &bytes).unwrap();
            found.push(format!("{}: {panic}", kept.display()));
        }
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    std::panic::set_hook(before);
    println!("{runs} files, the slowest in {slowest:.2} s");
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(slowest < 20.0, "a file took {slowest} s");
}
