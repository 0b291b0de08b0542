//! The odd rank is named, with what it has, and all ranks say the same.

use std::time::Duration;

use smollm3_collective::{CollectiveError, Disagreement, Single, Threads, agree};

/// What each rank finds when it has these items.
fn agreement(of_ranks: &[&[(&str, &str)]]) -> Option<Disagreement> {
    let mut results = Threads::run(of_ranks.len(), Duration::from_secs(10), |ranks| {
        use smollm3_collective::Collective;
        let items: Vec<(&str, String)> = of_ranks[ranks.rank()]
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        match agree(&ranks, &items) {
            Ok(()) => None,
            Err(CollectiveError::Disagreement(disagreement)) => Some(disagreement),
            Err(other) => panic!("{other}"),
        }
    });
    assert!(results.iter().all(|result| *result == results[0]));
    results.remove(0)
}

const RIGHT: &[(&str, &str)] = &[("recipe", "9f3a"), ("version", "0.1.0")];

#[test]
fn equal_ranks_agree() {
    assert_eq!(agreement(&[RIGHT; 4]), None);
    assert_eq!(agreement(&[&[][..]; 3]), None);
    agree(&Single::default(), &[("recipe", "9f3a".into())]).unwrap();
}

#[test]
fn the_odd_rank_is_named() {
    let disagreement =
        agreement(&[RIGHT, RIGHT, &[("recipe", "77b1"), ("version", "0.1.0")], RIGHT]).unwrap();
    assert_eq!(
        disagreement.to_string(),
        "the 4 ranks were not started with the same things: rank 2 (thread 2) has recipe 77b1 where most have 9f3a; \
         start all ranks from the same program and files"
    );
}

#[test]
fn rank_0_is_odd_where_most_say_otherwise() {
    let disagreement = agreement(&[&[("recipe", "77b1"), ("version", "0.1.0")], RIGHT, RIGHT]).unwrap();
    assert_eq!(
        disagreement.odd.iter().map(|odd| odd.rank).collect::<Vec<_>>(),
        [0]
    );
}

#[test]
fn of_two_the_first_is_right() {
    let disagreement = agreement(&[RIGHT, &[("recipe", "9f3a"), ("version", "0.2.0")]]).unwrap();
    let [odd] = &disagreement.odd[..] else {
        panic!("{disagreement}")
    };
    assert_eq!((odd.rank, odd.item.as_str()), (1, "version"));
    assert_eq!(
        (odd.has.as_deref(), odd.most_have.as_deref()),
        (Some("0.2.0"), Some("0.1.0"))
    );
}

#[test]
fn an_item_that_a_rank_does_not_know_is_odd() {
    let disagreement = agreement(&[RIGHT, &[("recipe", "9f3a")], &[("recipe", "1"), ("data", "5")]]).unwrap();
    let found: Vec<_> = disagreement
        .odd
        .iter()
        .map(|odd| (odd.rank, odd.item.as_str(), odd.has.as_deref()))
        .collect();
    // Two of three do not know of a version, so that is what most have.
    assert_eq!(
        found,
        [
            (2, "recipe", Some("1")),
            (0, "version", Some("0.1.0")),
            (2, "data", Some("5"))
        ]
    );
    assert!(
        disagreement
            .to_string()
            .contains("rank 0 (thread 0) has version 0.1.0 where most have none")
    );
}
