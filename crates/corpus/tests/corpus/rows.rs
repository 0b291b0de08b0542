//! Files of rows for the tests, in every format that is read.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// How the text column of a Parquet file is declared.
pub const STRING: &str = "optional binary text (UTF8);";
/// The same without the mark that it is text.
pub const BYTES: &str = "optional binary text;";

/// Writes a Parquet file whose row groups hold these texts beside an `id` column.
pub fn parquet(path: &Path, text: &str, compression: Compression, groups: &[Vec<Option<Vec<u8>>>]) {
    let message = format!("message rows {{ required int64 id; {text} optional binary url (UTF8); }}");
    let schema = Arc::new(parse_message_type(&message).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for group in groups {
        let mut columns = writer.next_row_group().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let ids: Vec<i64> = (0..group.len() as i64).collect();
        column
            .typed::<parquet::data_type::Int64Type>()
            .write_batch(&ids, None, None)
            .unwrap();
        column.close().unwrap();
        let present: Vec<i16> = group.iter().map(|text| i16::from(text.is_some())).collect();
        let values: Vec<_> = group
            .iter()
            .flatten()
            .map(|text| ByteArray::from(text.clone()))
            .collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&present), None)
            .unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        let urls = vec![ByteArray::from("https://example.org"); group.len()];
        column
            .typed::<ByteArrayType>()
            .write_batch(&urls, Some(&vec![1; group.len()]), None)
            .unwrap();
        column.close().unwrap();
        columns.close().unwrap();
    }
    writer.close().unwrap();
}

/// Texts as rows without gaps.
pub fn present(texts: &[String]) -> Vec<Option<Vec<u8>>> {
    texts.iter().map(|text| Some(text.clone().into_bytes())).collect()
}

/// One JSON object a line, the text between other fields.
pub fn json_lines(texts: &[String]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (id, text) in texts.iter().enumerate() {
        let row = serde_json::json!({"id": id, "text": text, "meta": {"text": [1, {"text": "no"}]}});
        writeln!(lines, "{row}").unwrap();
    }
    lines
}

/// `bytes` as gzip, in two members: joined archives are common.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for half in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        encoder.write_all(half).unwrap();
        encoder.finish().unwrap();
    }
    packed
}

/// `bytes` as Zstandard, in two frames.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    [
        ::zstd::encode_all(one, 1).unwrap(),
        ::zstd::encode_all(two, 1).unwrap(),
    ]
    .concat()
}

/// `bytes` as bzip2, in two streams.
pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let packed = [one, two].map(|half| {
        let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
        encoder.write_all(half).unwrap();
        encoder.finish().unwrap()
    });
    packed.concat()
}

/// `bytes` as xz, in two streams.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let packed = [one, two].map(|half| {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(half).unwrap();
        encoder.finish().unwrap()
    });
    packed.concat()
}
