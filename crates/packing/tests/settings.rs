//! Settings that contradict one another, and what their errors say to write instead.

use smollm3_packing::{MAX_ROW, PackError, Packing, Settings, TooLong, pack};

const PACKINGS: [Packing; 4] = [Packing::Bfd, Packing::BfdSplit, Packing::Wrapped, Packing::None];
const TREATMENTS: [TooLong; 4] = [TooLong::Truncate, TooLong::Split, TooLong::Drop, TooLong::Error];

#[test]
fn the_usual_settings_are_accepted() {
    for packing in PACKINGS {
        assert_eq!(Settings::new(8, packing).check(), Ok(()));
    }
}

#[test]
fn combinations_that_mean_something_are_accepted_and_no_others() {
    let accepted: Vec<String> = PACKINGS
        .iter()
        .flat_map(|&packing| {
            TREATMENTS.map(|too_long| Settings {
                too_long,
                ..Settings::new(8, packing)
            })
        })
        .filter(|settings| settings.check().is_ok())
        .map(|settings| format!("{} {}", settings.packing, settings.too_long))
        .collect();
    assert_eq!(
        accepted,
        [
            "bfd truncate",
            "bfd drop",
            "bfd error",
            "bfd-split split",
            "wrapped split",
            "none truncate",
            "none split",
            "none drop",
            "none error",
        ]
    );
}

#[test]
fn errors_say_what_to_write() {
    let said = |packing, too_long| {
        let settings = Settings {
            too_long,
            ..Settings::new(8, packing)
        };
        pack(&[1], &settings).unwrap_err().to_string()
    };
    assert!(said(Packing::Bfd, TooLong::Split).contains("write packing = \"bfd-split\""));
    let wrapped = said(Packing::Wrapped, TooLong::Drop);
    assert!(wrapped.starts_with("packing = \"wrapped\" splits"), "{wrapped}");
    assert!(
        wrapped.contains("write packing = \"bfd\" to keep too_long = \"drop\""),
        "{wrapped}"
    );
}

#[test]
fn rows_and_groups_have_bounds() {
    for row in [0, MAX_ROW + 1] {
        assert_eq!(
            pack(&[1], &Settings::new(row, Packing::Bfd)),
            Err(PackError::Row { row })
        );
    }
    assert_eq!(
        pack(&[7], &Settings::new(MAX_ROW, Packing::Bfd)).unwrap().len(),
        1
    );
    let grouped = |packing, group| Settings {
        group: Some(group),
        ..Settings::new(8, packing)
    };
    assert_eq!(grouped(Packing::Wrapped, 0).check(), Err(PackError::EmptyGroup));
    assert_eq!(
        grouped(Packing::None, 9).check(),
        Err(PackError::GroupOfNone { group: 9 })
    );
}

#[test]
fn a_document_that_is_too_long_is_named() {
    for (packing, instead) in [
        (Packing::Bfd, "packing = \"bfd-split\" to keep"),
        (Packing::None, "too_long = \"split\" to keep"),
    ] {
        let settings = Settings {
            too_long: TooLong::Error,
            ..Settings::new(8, packing)
        };
        assert_eq!(pack(&[8, 3], &settings).unwrap().len(), 2);
        let error = pack(&[8, 3, 9, 10], &settings).unwrap_err();
        assert_eq!(
            error,
            PackError::TooLong {
                document: 2,
                length: 9,
                row: 8,
                packing
            }
        );
        assert!(error.to_string().contains(instead), "{error}");
    }
    // Counted from the start of the set and not of its group.
    let settings = Settings {
        too_long: TooLong::Error,
        group: Some(2),
        ..Settings::new(8, Packing::Bfd)
    };
    assert!(matches!(
        pack(&[8, 3, 1, 10], &settings),
        Err(PackError::TooLong { document: 3, .. })
    ));
}

#[test]
fn more_fragments_than_can_be_numbered_are_refused_before_any_is_made() {
    for packing in [Packing::BfdSplit, Packing::Wrapped] {
        let error = pack(&[u32::MAX, u32::MAX], &Settings::new(1, packing)).unwrap_err();
        assert_eq!(
            error,
            PackError::TooMany {
                fragments: 2 + 2 * u64::from(u32::MAX)
            }
        );
    }
    assert_eq!(
        pack(&[u32::MAX, u32::MAX], &Settings::new(1, Packing::Bfd))
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn names_are_those_of_the_recipe() {
    for packing in PACKINGS {
        assert_eq!(serde_json::to_value(packing).unwrap(), packing.to_string());
    }
    for too_long in TREATMENTS {
        assert_eq!(serde_json::to_value(too_long).unwrap(), too_long.to_string());
    }
    assert_eq!(
        serde_json::from_str::<Packing>("\"bfd-split\"").unwrap(),
        Packing::BfdSplit
    );
}
