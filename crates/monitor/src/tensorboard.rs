//! TensorBoard's event files: records framed as TensorFlow frames them, each an `Event` message of its protocol buffers
//! (tensorboard/compat/proto/event.proto, summary.proto).
//!
//! Each process adds a file of its own to `tensorboard/` in the stage's folder. A run that resumes from an earlier step
//! writes a session start, at which TensorBoard drops what came after that step.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use smollm3_files::io as failed;
use smollm3_records::{Event, Listener, Result, StepRecord};

/// Steps between two flushes of the file.
const FLUSH_EVERY: u64 = 10;

/// The listener that writes them.
#[derive(Debug, Default)]
pub struct TensorBoard {
    file: Option<(PathBuf, BufWriter<File>)>,
    tokens_per_step: f64,
}

/// Fields of the messages.
mod field {
    pub const WALL_TIME: u64 = 1;
    pub const STEP: u64 = 2;
    pub const FILE_VERSION: u64 = 3;
    pub const SUMMARY: u64 = 5;
    pub const SESSION_LOG: u64 = 7;
    /// Of `SessionLog`.
    pub const STATUS: u64 = 1;
    /// Of `Summary`.
    pub const VALUE: u64 = 1;
    /// Of `Summary.Value`.
    pub const TAG: u64 = 1;
    pub const SIMPLE_VALUE: u64 = 2;
}

/// `SessionLog.START`.
const START: u64 = 1;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// An `Event` now, with one more field.
fn event(step: u64, field: u64, content: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut out = Vec::new();
    varint(&mut out, field::WALL_TIME << 3 | 1);
    out.extend_from_slice(&now.as_secs_f64().to_le_bytes());
    number(&mut out, field::STEP, step);
    bytes(&mut out, field, content);
    out
}

fn scalars(values: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut entry = Vec::new();
        bytes(&mut entry, field::TAG, tag.as_bytes());
        varint(&mut entry, field::SIMPLE_VALUE << 3 | 5);
        entry.extend_from_slice(&(*value as f32).to_le_bytes());
        bytes(&mut summary, field::VALUE, &entry);
    }
    summary
}

/// Length, its checksum, the record, its checksum; checksums are rotated and offset, for a checksum of data that contain
/// checksums would be weak.
fn write_record(out: &mut impl Write, record: &[u8]) -> io::Result<()> {
    let masked = |data: &[u8]| {
        let sum = crc32c::crc32c(data);
        sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let length = (record.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length))?;
    out.write_all(record)?;
    out.write_all(&masked(record))
}

impl TensorBoard {
    fn write(&mut self, record: &[u8], flush: bool) {
        let Some((path, file)) = &mut self.file else {
            return;
        };
        let written = write_record(file, record).and_then(|()| if flush { file.flush() } else { Ok(()) });
        // The same numbers are in metrics.jsonl; a run does not fail for lack of a second copy.
        if let Err(error) = written {
            tracing::warn!("{}: no more is written here: {error}", path.display());
            self.file = None;
        }
    }

    fn open(&mut self, folder: PathBuf, done: u64) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.{}.smollm3",
            now.as_secs(),
            std::process::id()
        ));
        let file = fs::create_dir_all(&folder)
            .and_then(|()| File::create(&path))
            .map_err(failed("create", &path))?;
        self.file = Some((path, BufWriter::new(file)));
        self.write(&event(done, field::FILE_VERSION, b"brain.Event:2"), false);
        let mut start = Vec::new();
        number(&mut start, field::STATUS, START);
        self.write(&event(done + 1, field::SESSION_LOG, &start), true);
        Ok(())
    }

    fn step(&mut self, record: &StepRecord) {
        let mut values = vec![
            ("train/loss".to_owned(), record.loss),
            ("train/grad_norm".to_owned(), record.grad_norm),
            ("train/learning_rate".to_owned(), record.learning_rate),
            (
                "speed/tokens_per_second".to_owned(),
                self.tokens_per_step / record.seconds.max(1e-9),
            ),
            ("speed/data_seconds".to_owned(), record.data_seconds),
        ];
        for (name, source) in &record.sources {
            values.push((format!("loss_by_source/{name}"), source.loss));
        }
        for (name, value) in &record.observed {
            values.push((format!("train/{name}"), *value));
        }
        let event = event(record.step, field::SUMMARY, &scalars(&values));
        self.write(&event, record.step.is_multiple_of(FLUSH_EVERY));
    }
}

impl Listener for TensorBoard {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::StageStarted { stage, done } => {
                self.tokens_per_step = stage.tokens_per_step as f64;
                self.open(stage.folder.join("tensorboard"), *done)?;
            }
            Event::Step(record) => self.step(record),
            Event::HeldOut(record) => {
                let values = [
                    (format!("held_out/{}", record.category), record.nats_per_token),
                    (
                        format!("held_out_bits_per_byte/{}", record.category),
                        record.bits_per_byte,
                    ),
                ];
                self.write(&self::event(record.step, field::SUMMARY, &scalars(&values)), true);
            }
            Event::Measured(record) => {
                let values = [(format!("held_out/{}", record.name), record.value)];
                self.write(&self::event(record.step, field::SUMMARY, &scalars(&values)), true);
            }
            // Dropping the file writes what is buffered.
            Event::StageEnded { .. } => self.file = None,
            _ => {}
        }
        Ok(())
    }
}
