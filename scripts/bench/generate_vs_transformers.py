#!/usr/bin/env python3
"""Reading a prompt and continuing it, beside transformers with its cache: same model, prompt length, threads.

    pip install torch transformers
    cargo build --release --features tch
    scripts/bench/generate_vs_transformers.py --model FOLDER --prompt 512 --new 64 --precision bf16 --pairs 3
    scripts/bench/generate_vs_transformers.py --config configs/smollm3-3b.toml --precision bf16 --pairs 1 --rounds 1

With --config both sides have random weights of that shape. The two take turns, ours in a process of its own (`smollm3
bench generate`). transformers gets SDPA; the prompt is one forward pass with a cache, and each new token another, as
its `generate` does, without the cost of its loop around them.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import tomllib

import torch
from transformers import AutoModelForCausalLM, DynamicCache, SmolLM3Config, SmolLM3ForCausalLM

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def arguments():
    parser = argparse.ArgumentParser()
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="folder of a checkpoint")
    which.add_argument("--config", help="a file of configs/")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--precision", choices=list(DTYPES), default="f32")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="tch")
    parser.add_argument("--binary", default="target/release/smollm3")
    return parser.parse_args()


def peer(args):
    if args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.precision])
        return model.eval()
    with open(args.config, "rb") as file:
        ours = tomllib.load(file)
    names = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings", "no_rope_layer_interval",
             "max_position_embeddings"]
    config = SmolLM3Config(**{name: ours[name] for name in names if name in ours}, pad_token_id=None)
    torch.set_default_dtype(DTYPES[args.precision])
    with torch.device("meta"):
        model = SmolLM3ForCausalLM(config)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            # Cheap, and neither zero nor denormal.
            parameter.fill_(0.01)
    inverse = 1 / config.rope_theta ** (torch.arange(0, 128, 2, dtype=torch.float32) / 128)
    model.model.rotary_emb.inv_freq = inverse[: config.hidden_size // config.num_attention_heads // 2]
    model.tie_weights()
    return model.eval()


@torch.inference_mode()
def theirs(model, args):
    ids = torch.randint(0, model.config.vocab_size, (1, args.prompt))
    prefill, decode = [], []
    for timed in range(args.rounds + 1):
        cache = DynamicCache(config=model.config)
        begin = time.perf_counter()
        token = model(ids, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
        first = time.perf_counter()
        for _ in range(args.new - 1):
            token = model(token, past_key_values=cache).logits[:, -1:].argmax(-1)
        end = time.perf_counter()
        if timed:
            prefill.append(args.prompt / (first - begin))
            decode.append((args.new - 1) / (end - first))
    return statistics.median(prefill), statistics.median(decode)


def ours(args):
    command = [args.binary, "bench", "generate", args.model or args.config, "--json", "--backend", args.backend,
               "--prompt", str(args.prompt), "--new", str(args.new), "--precision", args.precision, "--rounds",
               str(args.rounds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main():
    args = arguments()
    ratios = []
    for pair in range(args.pairs):
        model = peer(args)
        prefill, decode = theirs(model, args)
        # Two models of several gigabytes need not be in memory at once; and threads fall asleep.
        del model
        time.sleep(1)
        mine = ours(args)
        ratios.append((mine["prefill_tokens_per_second"] / prefill, mine["decode_tokens_per_second"] / decode))
        print(f"pair {pair + 1}: prompt {mine['prefill_tokens_per_second']:.1f} against {prefill:.1f} tokens/s "
              f"({ratios[-1][0]:.2f}), new {mine['decode_tokens_per_second']:.2f} against {decode:.2f} "
              f"({ratios[-1][1]:.2f})", file=sys.stderr)
    print(json.dumps({"model": args.model or args.config, "prompt": args.prompt, "new": args.new,
                      "precision": args.precision, "torch": torch.__version__, "threads": torch.get_num_threads(),
                      "cores": os.cpu_count(), "prefill_ratio": statistics.median(r[0] for r in ratios),
                      "decode_ratio": statistics.median(r[1] for r in ratios), "ours": mine}, indent=2))


if __name__ == "__main__":
    main()
