#!/usr/bin/env python3
"""A preference step of this project beside TRL's DPOTrainer: same model, same reference, same pairs, same loss.

    pip install torch transformers trl==0.24.0
    cargo build --release --features tch
    scripts/bench/apo_vs_trl.py --model FOLDER --reference FOLDER --rows pairs.jsonl --precision bf16 --rounds 2

As many pairs as a step sees are taken, so that both see the same ones in every step. First the values that both log for the
first step are compared, then the two take turns and the ratio is of answer tokens a second. TRL pads, and is run both
with the reference's log-probabilities computed before training, as ours, and with the reference in each step, its default.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

RECIPE = """
run = {{ name = "bench", seed = 1, output = "{out}", backend = "{backend}", precision = "{precision}" }}
model = {{ checkpoint = "{model}" }}
data = {{ held_out = "0%" }}

[[stage]]
name = "apo"
kind = "apo"
sequence_length = {length}
global_batch = "{pairs} pairs"
row_length = {row_length}
reference_from = "{reference}"
until = "{steps} steps"
extra_eos = true
prompt_limit = 512
too_long = "keep-end"
optimizer = {{ learning_rate = 1e-6 }}
schedule = {{ kind = "constant" }}
data = [{{ name = "rows", paths = ["{rows}"] }}]
"""
METRICS = ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="folder of a checkpoint with a chat template")
    parser.add_argument("--reference", help="folder of the reference; the model itself where it is not given")
    parser.add_argument("--rows", required=True, help="JSON lines with prompt, chosen and rejected")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of a step")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--row-length", type=int, default=2048)
    parser.add_argument("--micro", type=int, default=2, help="pairs that TRL computes at once")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--backend", default="tch")
    parser.add_argument("--binary", default="target/release/smollm3")
    return parser.parse_args()


def ours(args, rows, folder):
    recipe = os.path.join(folder, "recipe.toml")
    reference = os.path.abspath(args.reference or args.model)
    with open(recipe, "w") as file:
        file.write(RECIPE.format(out=os.path.join(folder, "out"), model=os.path.abspath(args.model), rows=rows,
                                 reference=reference, length=args.length, row_length=args.row_length,
                                 pairs=args.pairs, steps=args.steps, backend=args.backend, precision=args.precision))
    subprocess.run([args.binary, "run", recipe], check=True, capture_output=True)
    with open(os.path.join(folder, "out", "apo", "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    steps = [record for record in records if record["kind"] == "step"]
    with open(os.path.join(folder, "out", "conversations", "apo", "report.json")) as file:
        report = json.load(file)["data"]["rows"]
    assert report["trained"] == args.pairs, report
    first = {"loss": steps[0]["loss"], "grad_norm": steps[0]["grad_norm"], **steps[0]["observed"]}
    return first, statistics.median(step["seconds"] for step in steps[1:]), report["learned"]


class Clock(TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter() - self.begin)


def theirs(args, rows, folder, cached):
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa")
    clock = Clock()
    settings = DPOConfig(output_dir=os.path.join(folder, "trl"), max_length=args.length, max_prompt_length=512,
                         loss_type="apo_zero", beta=0.05, per_device_train_batch_size=args.micro,
                         gradient_accumulation_steps=args.pairs // args.micro, max_steps=args.steps,
                         learning_rate=1e-6, lr_scheduler_type="constant", max_grad_norm=0.2,
                         optim="adamw_torch_fused", bf16=args.precision == "bf16", gradient_checkpointing=False,
                         precompute_ref_log_probs=cached, precompute_ref_batch_size=args.micro, use_cpu=True,
                         report_to=[], save_strategy="no", logging_steps=1, seed=1)
    trainer = DPOTrainer(model=load(args.model), ref_model=load(args.reference or args.model), args=settings,
                         train_dataset=Dataset.from_list(rows), callbacks=[clock],
                         processing_class=AutoTokenizer.from_pretrained(args.model))
    trainer.train()
    first = next(log for log in trainer.state.log_history if "loss" in log)
    return first, statistics.median(clock.times[1:])


def main():
    args = arguments()
    with open(args.rows) as file:
        rows = [json.loads(line) for line in file][: args.pairs]
    found = {"cached": [], "each step": []}
    largest = {}
    for round_ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.jsonl")
            with open(path, "w") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            mine, seconds, tokens = ours(args, path, folder)
            for name in found:
                peer, peer_seconds = theirs(args, rows, folder, name == "cached")
                if round_ == 0 and name == "cached":
                    for metric in ["loss", *METRICS]:
                        print(f"{metric:20} ours {mine[metric]:.6f}  TRL {peer[metric]:.6f}", file=sys.stderr)
                        largest[metric] = abs(mine[metric] - peer[metric])
                    print(f"{'grad_norm':20} ours {mine['grad_norm']:.6f}  TRL {peer['grad_norm']:.6f}", file=sys.stderr)
                found[name].append(peer_seconds / seconds)
                print(f"round {round_ + 1}, reference {name}: ours {tokens / seconds:.0f} answer tokens/s, "
                      f"TRL {tokens / peer_seconds:.0f}: {found[name][-1]:.2f}", file=sys.stderr)
    print(json.dumps({"model": args.model, "pairs": args.pairs, "answer_tokens": tokens, "precision": args.precision,
                      "torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
                      "largest_difference": largest,
                      "ratio": {name: statistics.median(ratios) for name, ratios in found.items()}}, indent=2))


if __name__ == "__main__":
    main()
