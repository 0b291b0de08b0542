//! The table people read.

use smollm3_packing::{Ledger, Packing, Settings, TooLong, pack};

#[test]
fn the_table_is_aligned() {
    let rows = pack(&[1500, 20, 0, 980, 40], &Settings::new(1000, Packing::Bfd)).unwrap();
    let table = "\
documents        5
  empty          1
  truncated      1
  split          0
  dropped        0
tokens       2,540
  kept       2,040   80.31 %
  truncated    500   19.69 %
  dropped        0    0.00 %
rows             3   68.00 % full
  of tokens  1,000
";
    assert_eq!(rows.ledger().to_string(), table);
}

#[test]
fn counts_of_each_treatment() {
    let ledger = |packing, too_long| {
        let settings = Settings {
            too_long,
            ..Settings::new(10, packing)
        };
        *pack(&[25, 0, 4], &settings).unwrap().ledger()
    };
    let base = Ledger {
        documents: 3,
        empty_documents: 1,
        input: 29,
        row: 10,
        ..Ledger::default()
    };
    let truncated = Ledger {
        truncated_documents: 1,
        kept: 14,
        truncated: 15,
        rows: 2,
        ..base
    };
    let dropped = Ledger {
        dropped_documents: 1,
        kept: 4,
        dropped: 25,
        rows: 1,
        ..base
    };
    let split = Ledger {
        split_documents: 1,
        kept: 29,
        rows: 3,
        ..base
    };
    assert_eq!(ledger(Packing::Bfd, TooLong::Truncate), truncated);
    assert_eq!(ledger(Packing::Bfd, TooLong::Drop), dropped);
    assert_eq!(ledger(Packing::BfdSplit, TooLong::Split), split);
    assert_eq!(ledger(Packing::Wrapped, TooLong::Split), split);
    assert_eq!(ledger(Packing::None, TooLong::Split), Ledger { rows: 4, ..split });
    assert!((split.fill() - 29.0 / 30.0).abs() < 1e-12);
}
