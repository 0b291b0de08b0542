//! Generated pairs about sums, for demonstrations: the right answer is preferred to a wrong one.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use smollm3_sft::{sum, sum_conversation};

/// Pair `index` of a seed. The wrong answer is the right one but for a mistake in a digit; with `think` the thoughts before
/// it are right, as they are where a model slips at the end.
pub fn sum_pair(seed: u64, index: u64, think: bool) -> Value {
    let right = sum(seed, index);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    rng.set_stream(index);
    let mut digits = right.answer.clone().into_bytes();
    let at = rng.random_range(0..digits.len());
    let other = rng.random_range(1..10u8);
    digits[at] = b'0' + (digits[at] - b'0' + other) % 10;
    let mut wrong = right.clone();
    wrong.answer = digits.iter().map(|digit| char::from(*digit)).collect();
    let (chosen, rejected) = (sum_conversation(&right, think), sum_conversation(&wrong, think));
    json!({
        "prompt": chosen.messages[..1],
        "chosen": chosen.messages[1..],
        "rejected": rejected.messages[1..],
        "chat_template_kwargs": chosen.template_kwargs,
    })
}
