//! Packs documents of given lengths; prints the ledger to standard error and seconds, rows and fill as
//! JSON to standard output. The time is that of packing alone, without reading.
//!
//! ```text
//! cargo run --release -p smollm3-packing --example pack -- LENGTHS ROW [PACKING [GROUP [ROWS]]]
//! ```
//!
//! `LENGTHS` is a file, or `-` for standard input: a JSON array, or one number a line. `ROWS` is a file to
//! write: the lengths of the fragments, one row a line.

use std::error::Error;
use std::io::{BufWriter, Read, Write};
use std::time::Instant;

use smollm3_packing::{Packing, RowPlan, Settings, pack};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, row, rest) = match arguments.as_slice() {
        [path, row, rest @ ..] if rest.len() <= 3 => (path, row.parse()?, rest),
        _ => return Err("usage: pack LENGTHS|- ROW [bfd|bfd-split|wrapped|none [GROUP [ROWS]]]".into()),
    };
    let packing: Packing = match rest.first() {
        Some(name) => serde_json::from_value(name.as_str().into())?,
        None => Packing::Bfd,
    };
    let settings = Settings {
        group: rest.get(1).map(|group| group.parse()).transpose()?,
        ..Settings::new(row, packing)
    };
    let lengths = lengths(&read(path)?)?;

    let started = Instant::now();
    let rows = pack(&lengths, &settings)?;
    let seconds = started.elapsed().as_secs_f64();

    if let Some(path) = rest.get(2) {
        write(&rows, path)?;
    }
    eprint!("{}", rows.ledger());
    let report = serde_json::json!({
        "documents": lengths.len(),
        "seconds": seconds,
        "rows": rows.len(),
        "fill": rows.ledger().fill(),
        "settings": settings,
        "ledger": rows.ledger(),
    });
    println!("{report}");
    Ok(())
}

fn read(path: &str) -> std::io::Result<String> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

fn lengths(text: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    if text.trim_start().starts_with('[') {
        return Ok(serde_json::from_str(text)?);
    }
    Ok(text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

fn write(rows: &RowPlan, path: &str) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for row in rows.iter() {
        let lengths: Vec<_> = row.iter().map(|fragment| fragment.length.to_string()).collect();
        writeln!(file, "{}", lengths.join(" "))?;
    }
    file.flush()
}
