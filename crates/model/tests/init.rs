//! Random initialisation: the right spread, the same values everywhere.

use std::path::Path;

use smollm3_model::{Init, ModelConfig, Parameters};

fn config() -> ModelConfig {
    ModelConfig::from_toml_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/smollm3-3b.toml"))
        .unwrap()
}

fn draw(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    Init::new(&config(), seed)
        .parameter(name, shape)
        .unwrap()
        .iter()
        .collect()
}

/// Mean, standard deviation, share beyond three deviations.
fn moments(values: &[f32]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    let far = values
        .iter()
        .filter(|x| f64::from(**x).abs() > 3.0 * deviation)
        .count() as f64
        / count;
    (mean, deviation, far)
}

#[test]
fn matrices_are_normal_with_the_scale_of_the_original() {
    let cases = [
        ("model.embed_tokens.weight", 0.02),
        ("model.layers.0.self_attn.q_proj.weight", 0.02),
        ("model.layers.7.mlp.gate_proj.weight", 0.02),
        // 0.02 / √72
        ("model.layers.3.self_attn.o_proj.weight", 0.002_357_022_6),
        ("model.layers.3.mlp.down_proj.weight", 0.002_357_022_6),
    ];
    for (name, expected) in cases {
        let (mean, deviation, far) = moments(&draw(1, name, &[500, 800]));
        // Five standard errors of 400,000 draws.
        assert!(mean.abs() < 5.0 * expected / 632.0, "{name}: mean {mean}");
        assert!(
            (deviation / expected - 1.0).abs() < 5.0 / 894.0,
            "{name}: deviation {deviation}"
        );
        // Not truncated: 0.27 % lie beyond three deviations.
        assert!(
            (far - 0.0027).abs() < 0.0005,
            "{name}: {far} beyond three deviations"
        );
    }
    assert!(draw(1, "model.norm.weight", &[64]).iter().all(|x| *x == 1.0));
    assert!(
        draw(1, "model.layers.0.self_attn.q_proj.bias", &[64])
            .iter()
            .all(|x| *x == 0.0)
    );
}

#[test]
fn values_depend_on_seed_and_name_only() {
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(draw(1, name, &[8, 8]), draw(1, name, &[8, 8]));
    assert_ne!(draw(1, name, &[8, 8]), draw(2, name, &[8, 8]));
    assert_ne!(
        draw(1, name, &[8, 8]),
        draw(1, "model.layers.1.mlp.up_proj.weight", &[8, 8])
    );
    // Written down once: a change of generator would silently change every run.
    let first: Vec<u32> = draw(42, name, &[2, 2]).into_iter().map(f32::to_bits).collect();
    assert_eq!(first, FIRST, "{first:#x?}");
}

/// The first values of seed 42, as bits.
const FIRST: [u32; 4] = [0x3b03_2b09, 0xbd02_87f0, 0xbca3_c042, 0x3c2a_7e92];
