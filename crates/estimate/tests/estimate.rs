//! The estimate of a run on devices: hand-worked values, what it must do with more devices, the bytes that ranks
//! really send, and what it refuses.

#[path = "../../recipe/tests/fixture/mod.rs"]
mod fixture;

use std::time::Duration;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_collective::{Collective, Shards, Threads};
use smollm3_estimate::{Device, Estimate, StageEstimate, StepTraffic, Trained};
use smollm3_recipe::{DEVICES, Facts, Precision, Recipe, training_flops_per_token};

/// A device of round figures, of which all is reached.
const ROUND: &str = "cpu,peak=1TFLOP/s,memory=1GB,bandwidth=100GB/s,host=1GB/s,products=100%,attention=100%,\
                     transfers=100%";

fn estimate(folder: &Folder, overrides: &[&str], devices: u64, device: &str) -> Estimate {
    let recipe = folder.load(overrides).unwrap();
    let device = device.parse().unwrap();
    smollm3_estimate::estimate(&recipe, &Facts::default(), devices, &device).unwrap()
}

fn only(estimate: &Estimate) -> &StageEstimate {
    let [stage] = estimate.stages.as_slice() else {
        panic!("{} stages", estimate.stages.len())
    };
    stage
}

fn of_recipe(name: &str, overrides: &[&str], devices: u64, device: &str) -> Estimate {
    let folder = format!("{}/../../recipes/{name}", env!("CARGO_MANIFEST_DIR"));
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let recipe = Recipe::load(folder.as_ref(), &overrides).unwrap();
    let device = device.parse().unwrap();
    smollm3_estimate::estimate(&recipe, &Facts::default(), devices, &device).unwrap()
}

fn smollm3_3b(devices: u64, device: &str) -> Estimate {
    of_recipe("smollm3-3b", &[], devices, device)
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!(
        (found / expected - 1.0).abs() < 1e-12,
        "{found} is not {expected}"
    );
}

#[test]
fn a_small_step_worked_by_hand() {
    let folder = Folder::new();
    let whole = estimate(&folder, &[], 2, ROUND);
    let stage = only(&whole);
    assert_eq!((stage.devices, stage.next_devices), (2, None));
    assert_eq!(
        (stage.micro_batch, stage.accumulation, stage.steps),
        (4, 1, Some(110))
    );
    // hidden 64, inner 160, 4 layers of 4 and 2 heads of 16, vocabulary 512: matrices 4·(2·64·64 + 2·32·64 + 3·160·64)
    // and the tied head, norms 9·64.
    let matrices = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64) + 512 * 64;
    let parameters = matrices + 9 * 64;
    assert_eq!(whole.parameters, parameters);
    let tokens = 4.0 * 1_024.0;
    let step = &stage.step_seconds;
    assert_near(step.products, tokens * 6.0 * matrices as f64 / 1e12);
    // Two products forward and five backward, each of 2·64·512 a layer and token on average.
    assert_near(step.attention, tokens * 7.0 * 4.0 * 64.0 * 1_024.0 / 1e12);
    let per_layer = 8 * 64 + 4 * (2 * 64 + 2 * 64 + 2 * 32 + 3 * 160) + 4 * 6;
    let kept = 4 * per_layer + (4 + 2 * 4) * 64 + 12 * 64 + 3 * 4 * 160;
    let of_token = 6.0 * kept as f64 + 40.0 * 512.0 + 12.0 * 512.0 * 64.0 / 1_024.0;
    let elementwise = tokens * of_token + 4.0 * parameters as f64;
    assert_near(step.elementwise, elementwise / 100e9);
    let shard = parameters.div_ceil(2);
    assert_near(step.update, 36.0 * shard as f64 / 100e9);
    // One node: no network, no bus; 7 passes, and 4 more over the half that goes to the other rank. Nothing is hidden,
    // for the sums take the cores that compute.
    assert_eq!((step.bus, step.network, step.hidden), (0.0, 0.0, 0.0));
    assert_near(step.host, 9.0 * 4.0 * parameters as f64 / 1e9);
    let saved = 4 * parameters + 8 * shard;
    assert_near(step.checkpoints, saved as f64 / 1e9 / 50.0);

    let sums = stage.whole.as_ref().unwrap();
    assert_near(sums.seconds, step.total());
    assert_eq!(sums.dominant, "attention");
    assert_near(sums.tokens_per_second, 8_192.0 / step.total());
    let flops = 8_192.0 * training_flops_per_token(&folder.load(&[]).unwrap().architecture().unwrap(), 1_024);
    assert_near(sums.mfu, flops / (2e12 * step.total()));
    let compute = step.products + step.attention + step.elementwise;
    let rest = step.update + step.checkpoints;
    let link = 8.0 * parameters as f64 / 2.0 / 10e9;
    assert_near(sums.between_devices_seconds.unwrap(), compute + link + rest);
    assert_near(sums.overlapped_seconds.unwrap(), compute.max(link) + rest);
    assert_near(stage.days.unwrap(), 110.0 * step.total() / 86_400.0);
    assert_near(whole.days, stage.days.unwrap());
    assert_near(
        whole.overlapped_days,
        110.0 * sums.overlapped_seconds.unwrap() / 86_400.0,
    );
    assert_near(
        whole.between_devices_days,
        110.0 * sums.between_devices_seconds.unwrap() / 86_400.0,
    );
}

#[test]
fn one_device_sends_nothing() {
    let whole = estimate(&Folder::new(), &[], 1, ROUND);
    let stage = only(&whole);
    let step = &stage.step_seconds;
    assert_eq!((step.bus, step.host, step.network), (0.0, 0.0, 0.0));
    assert_eq!((stage.sent.total_bytes, stage.sent.messages), (0, 0));
    assert_eq!(stage.whole.as_ref().unwrap().overlapped_seconds, None);
    assert_near(step.update, 48.0 * whole.parameters as f64 / 100e9);
}

#[test]
fn nodes_the_bus_and_recomputation() {
    let folder = Folder::new();
    let spread = format!("{ROUND},node=2,network=2GB/s,bus=4GB/s");
    let whole = estimate(&folder, &[], 8, &spread);
    let step = &only(&whole).step_seconds;
    let bytes = 4.0 * whole.parameters as f64;
    assert_near(step.network, 2.0 * bytes * 6.0 / 8.0 / 2e9);
    assert_near(step.bus, 2.0 * bytes / 4e9);
    assert_near(step.host, (7.0 + 4.0 / 8.0) * bytes / 1e9);
    assert_eq!(step.hidden, 0.0);
    let again = estimate(&folder, &["stage.pretrain.recompute=layers"], 8, &spread);
    let recomputed = &only(&again).step_seconds;
    // Between devices: rings that leave a node of two over both adapters, at 4 GB/s, slower than inside it.
    let sums = only(&whole).whole.as_ref().unwrap();
    let compute = step.products + step.attention + step.elementwise;
    let rest = step.update + step.checkpoints;
    let rings = 2.0 * bytes * 7.0 / 8.0 / 4e9;
    assert_near(sums.between_devices_seconds.unwrap(), compute + rings + rest);
    assert_near(sums.overlapped_seconds.unwrap(), compute.max(rings) + rest);
    // The layers once more of three times, the head not; attention nine products of seven.
    let head = 512.0 * 64.0;
    let matrices = whole.parameters as f64 - 9.0 * 64.0;
    let ratio = (6.0 * matrices + 2.0 * (matrices - head)) / (6.0 * matrices);
    assert_near(recomputed.products / step.products, ratio);
    assert_near(recomputed.attention / step.attention, 9.0 / 7.0);
    assert!(recomputed.elementwise > step.elementwise);
    // Gradients, four passes and two more over an eighth, and once over the network: all beside the backward pass where
    // that is long enough, three quarters of its seconds where it is not.
    let gradients = (4.0 + 2.0 / 8.0) * bytes / 1e9 + bytes * 6.0 / 8.0 / 2e9;
    let compute = recomputed.products + recomputed.attention + recomputed.elementwise;
    assert_near(recomputed.hidden, gradients.min(0.75 * compute));
    assert_near(only(&again).whole.as_ref().unwrap().seconds, recomputed.total());
}

#[test]
fn the_3b_recipe_on_the_devices_of_the_original() {
    let whole = smollm3_3b(384, "h100");
    let devices: Vec<(&str, u64, Option<u64>)> = whole
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.devices, stage.next_devices))
        .collect();
    assert_eq!(
        devices,
        [
            ("pretrain", 288, Some(576)),
            ("long-context-32k", 72, None),
            ("long-context-64k", 36, None),
            ("mid-train", 128, None),
            ("sft", 128, None),
            ("apo", 32, None)
        ]
    );
    let original = whole.original.as_ref().unwrap();
    assert_eq!((original.devices, original.days), (384, 24.0));
    let expected = whole.flops / (384.0 * 989.5e12 * 24.0 * 86_400.0);
    assert_near(original.mfu, expected);
    assert_eq!(format!("{:.2}", original.mfu), "0.29");
    assert_near(original.our_days, whole.days);
    assert_near(original.our_mfu * original.our_days, original.mfu * 24.0);

    let pretrain = &whole.stages[0];
    let parameters = 3_075_098_624_u64;
    // A bucket for each of 36 layers, and one for the embedding and the last norm.
    let layer: u64 = 2048 * (2 * 2048 + 2 * 512 + 3 * 11_008) + 2 * 2048;
    let rest = 128_256 * 2048 + 2048;
    assert_eq!(36 * layer + rest, parameters);
    let of = |length: u64| length.div_ceil(288).next_multiple_of(64);
    let shard = 36 * of(layer) + of(rest);
    assert_eq!(pretrain.sent.gradients_bytes, 4 * (parameters - shard));
    assert_eq!(pretrain.sent.weights_bytes, 4 * 287 * shard);
    assert_eq!(pretrain.steps, Some(4_704_793));
    assert_eq!(pretrain.memory_bytes.moments, 8 * parameters.div_ceil(288));

    // Conversations: a step is known, their number is not. Pairs: what ranks send alone.
    let [.., mid_train, _, apo] = whole.stages.as_slice() else {
        panic!()
    };
    assert!(mid_train.whole.is_some() && mid_train.steps.is_none() && mid_train.days.is_none());
    assert!(apo.whole.is_none() && apo.step_seconds.products == 0.0 && apo.step_seconds.host > 0.0);
    assert_eq!(apo.sent.numbers_bytes - mid_train_numbers(31), 31 * 8 * 7);

    let page = whole.to_string();
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    for expected in [
        "smollm3-3b on 384 × h100: 3.075B parameters",
        "days without mid-train, sft, apo: known once the data are prepared",
        "The original: 24 days on 384 × h100 for the stages on text, 29.1 % of the peak (MFU);\n",
        "assumed, not measured: products reach 70 % of 989.5 TFLOP/s",
        "With sums between devices (`--features nccl`)",
        "32 devices with 1 pair\n",
        "96 of 384 devices: a step can be divided by 288, or by 576",
        "4,704,793 steps",
        "steps and days: known once the data are prepared",
        "with sums between devices (`--features nccl`)",
        "  of the sums, beside the backward pass",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
}

fn mid_train_numbers(others: u64) -> u64 {
    others * (8 * 6 + 32)
}

#[test]
fn every_recipe_on_any_number_of_devices() {
    for name in ["demo", "smollm3-3b", "smollm3-3b-released"] {
        for (devices, device) in [
            (1, "h200"),
            (2, ROUND),
            (7, "a100-80g"),
            (384, "h100"),
            (1_000_000, "h100"),
        ] {
            let whole = of_recipe(name, &[], devices, device);
            assert!(whole.days > 0.0, "{name}");
            for stage in &whole.stages {
                assert!(stage.devices <= devices && stage.sequences_per_step.is_multiple_of(stage.devices));
                let rows = stage.devices * stage.micro_batch * stage.accumulation;
                assert_eq!(rows, stage.sequences_per_step, "{name}: {}", stage.name);
            }
            for line in whole.to_string().lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }
}

#[test]
fn adapters_are_what_is_sent_and_kept() {
    let lora = ["stage.sft.lora={ rank = 16, alpha = 32 }"];
    let [whole, adapted] = [&[][..], &lora].map(|overrides| of_recipe("smollm3-3b", overrides, 64, "h100"));
    let [whole, adapted] = [&whole, &adapted].map(|estimate| &estimate.stages[4]);
    assert_eq!((adapted.name.as_str(), adapted.devices), ("sft", 64));
    // 16 · (out + in) of seven matrices in each of 36 layers.
    let numbers = 36 * 16 * (2 * 4_096 + 2 * 2_560 + 3 * 13_056);
    let shard = (numbers / 64_u64).div_ceil(64) * 64;
    assert_eq!(adapted.sent.gradients_bytes, 4 * (numbers - shard));
    assert_eq!(adapted.memory_bytes.gradients, 4 * numbers);
    assert_eq!(adapted.memory_bytes.moments, 8 * numbers.div_ceil(64));
    // Of the frozen weights there are both, and of the adapters beside them.
    assert_eq!(
        adapted.memory_bytes.masters,
        whole.memory_bytes.masters + 4 * numbers
    );
    assert_eq!(
        adapted.memory_bytes.weights,
        whole.memory_bytes.weights + 2 * numbers
    );
    let (a, w) = (&adapted.step_seconds, &whole.step_seconds);
    assert!(a.products < w.products && a.products > 0.6 * w.products);
    assert_near(a.host / w.host, numbers as f64 / 3_075_098_624.0);
    assert_eq!(a.attention, w.attention);
}

#[test]
fn without_an_original_there_is_no_comparison() {
    let folder = Folder::new();
    let whole = estimate(&folder, &[], 4, "h100");
    assert_eq!(whole.original, None);
    assert!(!whole.to_string().contains("original"));
    for (text, expected) in [
        (
            "plan.original={ devices = 4, device = \"h10\", days = 1 }",
            "unknown device `h10`; did you mean `h100`?",
        ),
        (
            "plan.original={ devices = 4, device = \"h100\", days = 0 }",
            "write positive numbers",
        ),
    ] {
        let message = folder.load(&[text]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn json_has_units_in_its_names() {
    let json = serde_json::to_value(smollm3_3b(384, "h100,network=25GB/s")).unwrap();
    assert_eq!(json["device"]["network_bytes_per_second"], 25e9);
    let stage = &json["stages"][0];
    for key in [
        "products",
        "attention",
        "elementwise",
        "update",
        "bus",
        "host",
        "network",
        "checkpoints",
    ] {
        assert!(stage["step_seconds"][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(stage["whole"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(stage["sent"]["total_bytes"].as_u64().unwrap() > 0);
    assert!(stage["memory_bytes"]["total"].as_u64().unwrap() > 0);
    assert!(json["stages"][5].get("whole").is_none());
}

#[test]
fn more_memory_than_the_device_has() {
    let folder = Folder::new();
    let tight = |memory: &str| format!("{ROUND},memory={memory}");
    let fits = estimate(&folder, &[], 1, ROUND);
    assert_eq!(only(&fits).too_much, None);
    let total = only(&fits).memory_bytes.total;
    let small = estimate(&folder, &[], 1, &tight("20MB"));
    let too_much = only(&small).too_much.as_ref().unwrap();
    assert_eq!(too_much.over_bytes, total - 20_000_000);
    let changes: Vec<&str> = too_much
        .instead
        .iter()
        .map(|(change, _)| change.as_str())
        .collect();
    assert_eq!(
        changes,
        ["recompute = \"layers\"", "micro_batch = \"1 sequence\""]
    );
    // What is written instead takes what is said.
    for (setting, change) in [("recompute=layers", 0), ("micro_batch=1 sequence", 1)] {
        let changed = estimate(&folder, &[&format!("stage.pretrain.{setting}")], 1, ROUND);
        assert_eq!(
            only(&changed).memory_bytes.total,
            too_much.instead[change].1,
            "{setting}"
        );
    }
    let page = small.to_string();
    assert!(
        page.contains("TOO MUCH") && page.contains("with recompute = \"layers\""),
        "{page}"
    );
    // A little less than is needed: moments are enough to give up.
    let near = estimate(&folder, &[], 1, &tight(&format!("{}B", total - 1)));
    let changes = &only(&near).too_much.as_ref().unwrap().instead;
    assert!(
        changes.iter().any(|(change, _)| change == "ever more devices"),
        "{changes:?}"
    );
    let both = [
        "stage.pretrain.recompute=layers",
        "stage.pretrain.micro_batch=1 sequence",
    ];
    let nothing_left = estimate(&folder, &both, 1, &tight("100kB"));
    let [(change, _)] = only(&nothing_left).too_much.as_ref().unwrap().instead.as_slice() else {
        panic!()
    };
    assert_eq!(change, "sequence_length = 512");
}

#[test]
fn devices_and_what_is_none() {
    assert_eq!(Device::named("cpu"), None);
    for name in DEVICES {
        assert!(Device::named(name).is_some(), "{name}");
    }
    let device: Device = "a100-80g, network=12.5GB/s ,products=55%,node=4,memory=40GB"
        .parse()
        .unwrap();
    assert_eq!(
        (device.network_bytes_per_second, device.products_reach),
        (12.5e9, 0.55)
    );
    assert_eq!(
        (device.devices_per_node, device.memory_bytes),
        (4, 40_000_000_000)
    );
    assert_eq!(device.flops_per_second(Precision::Bf16), 312e12);
    assert_eq!(device.flops_per_second(Precision::F32), 19.5e12);
    for (text, expected) in [
        ("", "unknown device ``"),
        ("h10", "unknown device `h10`; did you mean `h100`?"),
        ("trainium2", "write one of `h100`, `h200`, `a100-80g`, `cpu`"),
        ("h100,", "the name is followed by key=value"),
        ("h100,network", "the name is followed by key=value"),
        (
            "h100,netwrk=1GB/s",
            "unknown figure `netwrk`; did you mean `network`?",
        ),
        ("h100,network=25", "write it as network=50GB/s"),
        ("h100,network=-1GB/s", "write it as network=50GB/s"),
        ("h100,network=NaNGB/s", "write it as network=50GB/s"),
        ("h100,memory=1e300TB", "write it as memory=80GB"),
        ("h100,peak=989TB/s", "write it as peak=400TFLOP/s"),
        ("h100,products=0%", "above 0%, at most 100%"),
        ("h100,products=101%", "above 0%, at most 100%"),
        ("h100,products=0.5", "above 0%, at most 100%"),
        ("h100,node=0", "write a count such as node=8"),
        ("cpu", "`peak` is missing"),
        ("cpu,peak=1GFLOP/s,memory=1GB", "`bandwidth` is missing"),
        (
            "cpu,peak=1GFLOP/s,memory=1GB,bandwidth=1GB/s,node=2",
            "belong together",
        ),
    ] {
        let message = text.parse::<Device>().unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
        assert!(message.starts_with(&format!("device \"{text}\": ")), "{message}");
    }
}

#[test]
fn numbers_of_devices() {
    let folder = Folder::new();
    let recipe = folder.load(&[]).unwrap();
    let device: Device = ROUND.parse().unwrap();
    for devices in [0, 1_000_001, u64::MAX] {
        let refused = smollm3_estimate::estimate(&recipe, &Facts::default(), devices, &device);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("write 1 to 1000000"), "{refused}");
    }
    // 8 rows in micro-batches of 4.
    for (devices, used, next) in [
        (3, 2, Some(4)),
        (5, 4, Some(8)),
        (8, 8, None),
        (1_000_000, 8, None),
    ] {
        let whole = estimate(&folder, &[], devices, ROUND);
        assert_eq!(
            (only(&whole).devices, only(&whole).next_devices),
            (used, next),
            "{devices}"
        );
    }
    // What a plan refuses is refused.
    let context = [
        "stage.pretrain.sequence_length=2k",
        "stage.pretrain.phase.second.until=2M",
    ];
    let recipe = folder.load(&context).unwrap();
    let refused = smollm3_estimate::estimate(&recipe, &Facts::default(), 2, &device);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("longer than the 1024"), "{refused}");
}

/// What the engine's step asks of the ranks (`crates/engine/src/step.rs`), as the sums of a step with these sources.
fn step_of_engine(
    ranks: &dyn Collective,
    buckets: &[usize],
    observed: usize,
    sources: usize,
    rounds: usize,
) -> u64 {
    let before = ranks.traffic().sent;
    let numbers = |own: usize| {
        let counts = vec![own; ranks.world()];
        let mut values = vec![0.0; own * ranks.world()];
        ranks.all_gather_f64(&mut values, &counts).unwrap();
    };
    numbers(4);
    let counts = |length: usize| Shards::new(length, ranks.world(), 64).counts();
    for &length in buckets.iter().cycle().take(rounds * buckets.len()) {
        ranks
            .reduce_scatter(&mut vec![1.0; length], &counts(length))
            .unwrap();
    }
    numbers(2 + observed + 4 * sources);
    for &length in buckets {
        ranks.all_gather(&mut vec![1.0; length], &counts(length)).unwrap();
    }
    ranks.traffic().sent - before
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ranks_send_the_bytes_that_are_foretold(
        of_layer in prop_oneof![1_usize..300, 0_usize..100_000],
        layers in 1_usize..4,
        rest in prop_oneof![0_usize..300, 0_usize..100_000],
        world in 1_usize..7,
        observed in 0_usize..8,
        sources in 1_usize..4,
        rounds in 1_usize..4,
    ) {
        let buckets: Vec<usize> = vec![of_layer; layers]
            .into_iter()
            .chain([rest])
            .filter(|length| *length > 0)
            .collect();
        let sent = Threads::run(world, Duration::from_secs(30), |rank| {
            step_of_engine(&rank, &buckets, observed, sources, rounds)
        });
        let trained = Trained { layers: layers as u64, of_layer: of_layer as u64, rest: rest as u64 };
        prop_assert_eq!(trained.total(), buckets.iter().sum::<usize>() as u64);
        let foretold = StepTraffic::of_first_rank(trained, world as u64, observed as u64, rounds as u64);
        prop_assert_eq!(
            sent[0],
            foretold.total_bytes + (sources as u64 - 1) * foretold.each_further_source_bytes
        );
    }

    #[test]
    fn more_devices_never_compute_longer(few in 1_u64..1_000, more in 0_u64..1_000, recompute in any::<bool>()) {
        let folder = Folder::new();
        let recompute = format!("stage.pretrain.recompute={}", if recompute { "layers" } else { "none" });
        let overrides = [
            "stage.pretrain.global_batch=576 sequences",
            "stage.pretrain.micro_batch=3 sequences",
            "stage.pretrain.phase.first.until=100 steps",
            "stage.pretrain.phase.second.until=110 steps",
            &recompute,
        ];
        let [few, more] = [few, few + more].map(|devices| estimate(&folder, &overrides, devices, "h100"));
        let (few, more) = (only(&few), only(&more));
        prop_assert!(few.devices <= more.devices);
        prop_assert!(576_u64.is_multiple_of(more.devices));
        let (a, b) = (&few.step_seconds, &more.step_seconds);
        prop_assert!(b.products <= a.products && b.attention <= a.attention);
        prop_assert!(b.update <= a.update);
        // As 1/N, up to one number a device.
        let moments = [few, more].map(|stage| stage.memory_bytes.moments * stage.devices);
        prop_assert!(moments[0].abs_diff(moments[1]) <= 8 * 576);
        let terms: f64 = b.terms().iter().map(|(_, seconds)| seconds).sum();
        let whole = more.whole.as_ref().unwrap();
        prop_assert!((whole.seconds - (terms - b.hidden)).abs() <= 1e-12 * terms);
        prop_assert!(b.hidden <= b.host + b.network);
        prop_assert!(b.terms().iter().all(|(name, seconds)| *name == whole.dominant
            || *seconds <= b.terms().iter().find(|(name, _)| *name == whole.dominant).unwrap().1));
        prop_assert!(whole.overlapped_seconds.unwrap_or(0.0) <= whole.between_devices_seconds.unwrap_or(0.0));
    }

    #[test]
    fn no_device_is_too_odd(text in "(h100|cpu)?[a-z=,.0-9%GTB/s -]{0,40}") {
        let _ = text.parse::<Device>();
    }
}
