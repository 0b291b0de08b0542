#!/usr/bin/env python3
"""Adapters (LoRA) to Python's PEFT and back, to the bit.

Trains adapters of a checkpoint with `smollm3` and opens them with PEFT; makes adapters with PEFT, merges them and trains them
on with `smollm3`; and asks for what is not supported, which must be refused by name.

    pip install torch transformers peft
    scripts/verify/adapters.py target/release/smollm3 CHECKPOINT

CHECKPOINT is a folder with a tokenizer that has <|im_start|> and <|im_end|>, such as one of recipes/demo. With `--fixture
tests/fixtures/model` the files of the test `peft` are made again instead.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

MERGED = 2e-6
LOGITS = 2e-5
IDS = torch.tensor([[5, 17, 9, 3, 44, 8, 21, 30]])


def check(what, is_so):
    print(("ok    " if is_so else "WRONG ") + what)
    if not is_so:
        sys.exit(1)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits[0]


def worst(a, b):
    return (a - b).abs().max().item()


def adapter(base, out, seed, **settings):
    """An adapter that does something, saved by PEFT."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj", "down_proj"]} | settings
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    model.save_pretrained(out)
    return model


def recipe(folder, base, start, lora, steps, rate):
    """One stage on generated sums."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = json.dumps(lora["targets"])
    more = "".join(f", {key} = {value}" for key, value in lora.items() if key != "targets")
    (folder / "recipe.toml").write_text(f"""
[run]
name = "peft"
seed = 3
output = '{folder}/out'
[model]
checkpoint = '{base}'
[data]
held_out = "2%"
[[stage]]
name = "sft"
kind = "sft"
from = '{start}'
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "4 sequences"
until = "{steps} steps"
template = "chatml-masked"
lora = {{ targets = {targets}{more} }}
optimizer = {{ learning_rate = {rate}, weight_decay = 0.0 }}
schedule = {{ kind = "constant" }}
data = [{{ name = "sums", sums = {{ conversations = 200, seed = 2, think = false }} }}]
""")
    return folder


def run(smollm3, *words, cwd=None):
    return subprocess.run([smollm3, *map(str, words)], cwd=cwd, capture_output=True, text=True)


def trained(smollm3, folder):
    done = run(smollm3, "run", folder)
    check(f"smollm3 trains ({folder.name})", done.returncode == 0 or print(done.stderr))
    return sorted((folder / "out/sft").glob("step-*"))[-1]


def ours_to_theirs(smollm3, base, scratch):
    lora = {"rank": 4, "alpha": 8.0, "targets": ["q_proj", "o_proj", "up_proj"], "rslora": "true"}
    step = trained(smollm3, recipe(scratch / "ours", base, base, lora, 8, 5e-3))
    folder = step / "adapter"
    stored = load_file(folder / "adapter_model.safetensors")
    check("the adapters have been trained", all(value.abs().max() > 0 for value in stored.values()))
    model = PeftModel.from_pretrained(load(base), folder)
    state = {name.replace(".default", ""): value for name, value in model.state_dict().items() if "lora_" in name}
    same = stored.keys() == state.keys() and all(torch.equal(stored[name], state[name]) for name in stored)
    check("PEFT opens them to the bit", same)
    merged = load(step)
    check("transformers takes the checkpoint for a whole model", type(merged).__name__ != "PeftModelForCausalLM")
    off = worst(logits(model), logits(merged))
    check(f"with them it answers as the merged weights: off by {off:.1e}", off < LOGITS)
    check("and not as the base", worst(logits(load(base)), logits(merged)) > 100 * LOGITS)
    before = os.getcwd()
    os.chdir(folder)
    found = AutoPeftModelForCausalLM.from_pretrained(".", dtype=torch.float32)
    os.chdir(before)
    check("PEFT finds the base by its name", worst(logits(found), logits(model)) == 0.0)


def theirs_to_ours(smollm3, base, scratch):
    for kind, settings in [("plain", {}), ("rslora", {"use_rslora": True})]:
        out = scratch / f"theirs-{kind}"
        model = adapter(base, out, 7, **settings)
        stored = load_file(out / "adapter_model.safetensors")
        merged = scratch / f"merged-{kind}"
        done = run(smollm3, "export", out, "--out", merged, "--dtype", "f32")
        check(f"smollm3 merges it ({kind})", done.returncode == 0 or print(done.stderr))
        lora = {"rank": 4, "alpha": 6.0, "targets": ["down_proj", "q_proj", "v_proj"], "init": '"adapter"'}
        if kind == "rslora":
            lora["rslora"] = "true"
        # A rate at which nothing changes in f32.
        step = trained(smollm3, recipe(scratch / f"on-{kind}", base, out, lora, 1, 1e-30))
        found = load_file(step / "adapter/adapter_model.safetensors")
        same = stored.keys() == found.keys() and all(torch.equal(stored[name], found[name]) for name in stored)
        check("trained on by nothing, it is the same to the bit", same)
        expected = model.merge_and_unload().state_dict()
        theirs = load(merged).state_dict()
        off = max(worst(expected[name], theirs[name]) for name in expected)
        check(f"the merged weights are PEFT's: off by {off:.1e}", off < MERGED)


def refused(smollm3, base, scratch):
    cases = {
        "use_dora": {"use_dora": True},
        "bias": {"bias": "lora_only", "target_modules": ["q_proj"]},
        "modules_to_save": {"modules_to_save": ["lm_head"]},
        "rank_pattern": {"rank_pattern": {"q_proj": 2}},
        "alpha_pattern": {"alpha_pattern": {"q_proj": 2}},
        "init_lora_weights": {"init_lora_weights": "pissa"},
        "embedding": {"target_modules": ["embed_tokens"]},
        "the head": {"target_modules": ["q_proj", "lm_head"]},
    }
    for word, settings in cases.items():
        out = scratch / f"refused-{word}"
        try:
            adapter(base, out, 1, **settings)
        except Exception as error:
            print(f"      PEFT cannot make {word}: {error}")
            continue
        done = run(smollm3, "export", out, "--out", scratch / "none")
        line = done.stderr.strip().splitlines()[-1]
        check(f"refused: {line}", done.returncode != 0 and word.split()[-1] in line)


def fixture(models):
    """The adapter and what PEFT merges it to, of the model `a`."""
    out = models / "peft"
    model = adapter(models / "a", out, 11, r=2, use_rslora=True)
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../a"
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (out / "README.md").unlink(missing_ok=True)
    stem = "model.layers.3"
    wanted = [f"{stem}.self_attn.q_proj.weight", f"{stem}.self_attn.v_proj.weight", f"{stem}.mlp.down_proj.weight"]
    state = model.merge_and_unload().state_dict()
    save_file({name: state[name].contiguous() for name in wanted}, out / "merged.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("smollm3", type=Path, nargs="?")
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--fixture", type=Path)
    args = parser.parse_args()
    if args.fixture:
        fixture(args.fixture)
        return
    smollm3, base = args.smollm3.resolve(), args.checkpoint.resolve()
    with tempfile.TemporaryDirectory(prefix="peft-verify-") as scratch:
        scratch = Path(scratch).resolve()
        ours_to_theirs(smollm3, base, scratch)
        theirs_to_ours(smollm3, base, scratch)
        refused(smollm3, base, scratch)


if __name__ == "__main__":
    main()
