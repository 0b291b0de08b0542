#!/usr/bin/env python3
"""A training step of this project beside PyTorch with transformers' SmolLM3: same config, rows, documents, threads.

    pip install torch transformers
    cargo build --release --features tch
    scripts/bench/step_vs_transformers.py --config configs/small.toml --sequence-length 1024 --micro-batch 4 \
        --documents 4 --precision f32 --pairs 3

The two take turns, ours in a process of its own (`smollm3 bench step`), PyTorch in this one, eager and compiled; the
median ratio over the pairs is against the faster of those two. PyTorch gets what makes it fast: SDPA, its fused AdamW,
bf16 autocast. It masks documents as transformers does, from the positions.
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
from transformers import SmolLM3Config, SmolLM3ForCausalLM


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="configs/small.toml")
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--backend", default="tch")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--binary", default="target/release/smollm3")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--recompute", action="store_true", help="both compute layers again on the way back")
    parser.add_argument("--only-theirs", action="store_true", help="on a GPU that does not hold both at once")
    return parser.parse_args()


def starts(length, documents):
    """The document starts of `smollm3 bench step`."""
    share = [1 + i % 4 for i in range(documents)]
    return sorted({sum(share[:i]) * length // sum(share) for i in range(documents)})


class Peer:
    """A model, its optimizer and one batch."""

    def __init__(self, args):
        with open(args.config, "rb") as file:
            ours = tomllib.load(file)
        names = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                 "num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings", "no_rope_layer_interval"]
        config = SmolLM3Config(**{name: ours[name] for name in names if name in ours}, use_cache=False,
                               max_position_embeddings=max(ours["max_position_embeddings"], args.sequence_length),
                               pad_token_id=None, attn_implementation="sdpa")
        torch.manual_seed(1)
        self.device = args.device
        with torch.device(args.device):
            self.model = SmolLM3ForCausalLM(config).train()
        if args.recompute:
            self.model.gradient_checkpointing_enable()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8,
                                           weight_decay=0.1, fused=True)
        rows, length = args.micro_batch, args.sequence_length
        self.ids = torch.randint(0, config.vocab_size, (rows, length), device=args.device)
        begin = starts(length, args.documents)
        positions = torch.cat([torch.arange(end - start) for start, end in zip(begin, begin[1:] + [length])])
        self.positions = positions.expand(rows, length).contiguous().to(args.device)
        self.labels = self.ids.clone()
        self.labels[:, begin] = -100
        self.autocast = args.precision == "bf16"
        self.forward = self.eager

    def eager(self):
        return self.model(input_ids=self.ids, position_ids=self.positions, labels=self.labels).loss

    def step(self):
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def tokens_per_second(self, steps):
        self.step()
        times = []
        for _ in range(steps):
            begin = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - begin)
        return self.ids.numel() / statistics.median(times)


def ours(args):
    command = [args.binary, "bench", "step", "--json", "--config", args.config, "--backend", args.backend,
               "--device", args.device,
               "--sequence-length", str(args.sequence_length), "--micro-batch", str(args.micro_batch),
               "--documents", str(args.documents), "--precision", args.precision, "--steps", str(args.steps),
               *(["--recompute"] if args.recompute else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main():
    args = arguments()
    peer = Peer(args)
    forwards = {"eager": peer.eager}
    if not args.no_compile:
        forwards["compiled"] = torch.compile(peer.eager)
        peer.forward = forwards["compiled"]
        peer.step()
    ratios = []
    for pair in range(args.pairs):
        theirs = {}
        for name, forward in forwards.items():
            peer.forward = forward
            theirs[name] = peer.tokens_per_second(args.steps)
        if args.only_theirs:
            report(args, theirs=theirs)
            return
        # A process that has just worked keeps its threads waiting in a loop; let them fall asleep.
        time.sleep(1)
        mine = ours(args)
        best = max(theirs.values())
        ratios.append(mine["tokens_per_second"] / best)
        print(f"pair {pair + 1}: ours {mine['tokens_per_second']:.0f} tokens/s ({mine['utilisation']:.0%} of "
              f"{mine['ceiling_gigaflops']:.0f} GFLOP/s), "
              + ", ".join(f"{name} {rate:.0f}" for name, rate in theirs.items())
              + f": {ratios[-1]:.2f}", file=sys.stderr)
    report(args, ratio=statistics.median(ratios), ours=mine, theirs=theirs)


def report(args, **found):
    peak = torch.cuda.max_memory_allocated() / 1e6 if args.device == "cuda" else None
    print(json.dumps({"config": args.config, "sequence_length": args.sequence_length,
                      "micro_batch": args.micro_batch, "documents": args.documents, "precision": args.precision,
                      "recompute": args.recompute, "torch": torch.__version__, "threads": torch.get_num_threads(),
                      "cores": os.cpu_count(), "device_megabytes": peak, **found}, indent=2))


if __name__ == "__main__":
    main()
