mod fingerprint;
mod format;
mod reader;
mod streamed;
mod writer;

use std::path::{Path, PathBuf};

use smollm3_corpus::StoreWriter;

/// Writes `documents` as they are and returns the path.
fn write(folder: &Path, name: &str, vocab_size: u64, documents: &[Vec<u32>]) -> PathBuf {
    let path = folder.join(name);
    let mut writer = StoreWriter::create(&path, "test", vocab_size).unwrap();
    for document in documents {
        writer.push_document(document).unwrap();
    }
    writer.finish().unwrap();
    path
}
