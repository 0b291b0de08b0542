mod arrow_json;
mod lines;
mod list;
mod packed;
mod parquet;
mod python;
mod sample;
mod values;

use std::path::Path;

use ::parquet::arrow::ArrowWriter;
use arrow_array::RecordBatch;
use serde_json::Value;
use smollm3_corpus::read::{self, Columns, Position, RowProblem, is_row_file};

/// All rows of a file from a position on: text, nothing, or what is wrong; and where each one ends.
fn rows(path: &Path, from: Position) -> Vec<(Result<Option<String>, RowProblem>, Position)> {
    let mut rows = Vec::new();
    let mut next = from;
    for batch in read::open(path, path.to_str().unwrap(), "text", from).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.start, next, "batches join");
        for row in 0..batch.len() {
            let text = batch.text(row).map(|text| text.map(|text| text.to_string()));
            next = batch.position_after(row);
            rows.push((text, next));
        }
    }
    rows
}

/// The texts of a file in which every row has one.
fn texts(path: &Path, from: Position) -> Vec<String> {
    rows(path, from)
        .into_iter()
        .map(|(text, _)| text.unwrap().unwrap())
        .collect()
}

/// The error opening or reading a file ends in.
fn error(path: &Path) -> String {
    match read::open(path, path.to_str().unwrap(), "text", Position::default()) {
        Err(error) => error.to_string(),
        Ok(batches) => batches
            .filter_map(Result::err)
            .map(|error| error.to_string())
            .collect(),
    }
}

/// All rows of a file as JSON, or the error that opening or reading it ends in. The rows are as many as
/// `count_rows` says.
fn values(path: &Path) -> Result<Vec<Value>, String> {
    values_of(path, &Columns::All)
}

/// The same with some columns.
fn values_of(path: &Path, columns: &Columns) -> Result<Vec<Value>, String> {
    let name = path.to_str().unwrap();
    let mut rows = Vec::new();
    for batch in read::open_values(path, name, columns).map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        assert!(!batch.rows.is_empty() && batch.rows.len() <= 1_000);
        assert_eq!(&*batch.file, name);
        rows.extend(batch.rows);
    }
    assert_eq!(read::count_rows(path, name).unwrap(), rows.len() as u64);
    Ok(rows)
}

/// Writes a Parquet file of one row group for each batch.
fn write_batches(path: &Path, batches: &[RecordBatch]) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn names_tell_what_holds_rows() {
    for (name, holds) in [
        ("a/b.parquet", true),
        ("B.PARQUET", true),
        ("a.jsonl", true),
        ("a.json", true),
        ("a.ndjson.gz", true),
        ("a.jsonl.zst", true),
        ("a.json.zstd", true),
        ("a.jsonl.bz2", true),
        ("a.jsonl.xz", true),
        // Refused when they are opened, not passed over.
        ("a.jsonl.lz4", true),
        ("a.parquet.gz", true),
        ("a.txt", false),
        ("a.gz", false),
        ("jsonl", false),
    ] {
        assert_eq!(is_row_file(name), holds, "{name}");
    }
    assert!(error(Path::new("a.csv")).contains("its name does not tell the format"));
    assert!(error(Path::new("absent.jsonl")).contains("cannot open `absent.jsonl`"));
}
