//! Which parameters weight decay is for.

use smollm3_recipe::Optimizer;

fn optimizer(no_decay: &str) -> Optimizer {
    toml::from_str(&format!("learning_rate = 1e-3\n{no_decay}")).unwrap()
}

#[test]
fn the_embedding_is_not_decayed_and_the_norms_are() {
    let optimizer = optimizer("");
    assert!(!optimizer.decays("model.embed_tokens.weight"));
    assert!(optimizer.decays("model.norm.weight"));
    assert!(optimizer.decays("model.layers.0.input_layernorm.weight"));
    assert!(optimizer.decays("lm_head.weight"));
}

#[test]
fn a_star_stands_for_any_run_of_characters() {
    let one = optimizer("no_decay = [\"model.layers.*.input_layernorm.weight\", \"*.bias\"]");
    for (name, decays) in [
        ("model.layers.0.input_layernorm.weight", false),
        ("model.layers.35.input_layernorm.weight", false),
        ("model.layers.0.post_attention_layernorm.weight", true),
        ("model.layers.0.self_attn.q_proj.bias", false),
        ("model.layers.0.self_attn.q_proj.bias2", true),
        (".bias", false),
        ("bias", true),
        ("model.embed_tokens.weight", true),
    ] {
        assert_eq!(one.decays(name), decays, "{name}");
    }
    assert!(!optimizer("no_decay = [\"*\"]").decays(""));
    assert!(!optimizer("no_decay = [\"a*b*c\"]").decays("abbbc"));
    assert!(optimizer("no_decay = [\"a*b*c\"]").decays("acb"));
    assert!(optimizer("no_decay = []").decays("model.embed_tokens.weight"));
    // A name without a star is the whole name, in its own alphabet too.
    assert!(optimizer("no_decay = [\"norm\"]").decays("model.norm"));
    assert!(!optimizer("no_decay = [\"é*ß\"]").decays("é→ß"));
}

#[test]
fn clipping_can_be_switched_off() {
    assert_eq!(optimizer("").clip, Some(1.0));
    assert_eq!(optimizer("clip = 0.2").clip, Some(0.2));
    assert_eq!(optimizer("clip = 1").clip, Some(1.0));
    assert_eq!(optimizer("clip = false").clip, None);
    assert_eq!(
        optimizer("clip = false"),
        toml::from_str(&toml::to_string(&optimizer("clip = false")).unwrap()).unwrap()
    );
}
