mod arrow_json;
mod lines;
mod parquet;
mod values;

use std::path::Path;

use ::parquet::arrow::ArrowWriter;
use arrow_array::RecordBatch;
use serde_json::Value;
use smollm3_corpus::read::{self, Compression, Position, RowFormat, RowProblem};

/// All rows of a file from a position on: text, nothing, or what is wrong; and where each one ends.
fn rows(path: &Path, from: Position) -> Vec<(Result<Option<String>, RowProblem>, Position)> {
    let mut rows = Vec::new();
    let mut next = from;
    for batch in read::open(path, path.to_str().unwrap(), "text", from).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.start, next, "batches join");
        for row in 0..batch.len() {
            let text = batch.text(row).map(|text| text.map(|text| text.into_owned()));
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
    let name = path.to_str().unwrap();
    let mut rows = Vec::new();
    for batch in read::open_values(path, name).map_err(|error| error.to_string())? {
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
fn names_tell_the_format() {
    let lines = |compression| Some(RowFormat::JsonLines(compression));
    for (name, format) in [
        ("a/b.parquet", Some(RowFormat::Parquet)),
        ("B.PARQUET", Some(RowFormat::Parquet)),
        ("a.jsonl", lines(Compression::Plain)),
        ("a.json", lines(Compression::Plain)),
        ("a.ndjson.gz", lines(Compression::Gzip)),
        ("a.jsonl.zst", lines(Compression::Zstd)),
        ("a.json.zstd", lines(Compression::Zstd)),
        ("a.parquet.gz", None),
        ("a.txt", None),
        ("jsonl", None),
    ] {
        assert_eq!(RowFormat::from_name(name), format, "{name}");
    }
    assert!(error(Path::new("a.csv")).contains("its name does not tell the format"));
    assert!(error(Path::new("absent.jsonl")).contains("cannot open `absent.jsonl`"));
}
