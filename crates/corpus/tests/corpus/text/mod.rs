mod arithmetic;
mod cargo_sources;

use proptest::prelude::*;
use smollm3_corpus::text::{Arithmetic, DocumentSource, sample, shuffled};

proptest! {
    #[test]
    fn shuffling_is_a_permutation_fixed_by_its_seed(documents in 0u64..300, seed in any::<u64>()) {
        let order = shuffled(documents, seed);
        prop_assert_eq!(&order, &shuffled(documents, seed));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..documents).collect::<Vec<_>>());
        if documents > 30 {
            prop_assert_ne!(order, shuffled(documents, seed ^ 1));
        }
    }
}

#[test]
fn a_sample_stops_at_its_size() {
    let source = Arithmetic::new(1, 100);
    let texts = sample(&source, 5_000, 3).unwrap();
    let bytes: usize = texts.iter().map(String::len).sum();
    let without_last = bytes - texts.last().unwrap().len();
    assert!(without_last < 5_000 && bytes >= 5_000);
    assert_eq!(texts[0], source.text(shuffled(100, 3)[0]));
    assert_eq!(sample(&source, u64::MAX, 3).unwrap().len(), 100);
    assert!(sample(&Arithmetic::new(1, 0), 10, 3).is_err());
    assert!(source.document(100).is_err());
}
