#!/usr/bin/env python3
"""A fine-tuning step of this project beside TRL's SFTTrainer: same model, same tokenised conversations, same packing.

    pip install torch transformers trl==0.24.0 peft
    cargo build --release --features tch
    scripts/bench/sft_vs_trl.py --model FOLDER --rows chats.jsonl --precision bf16 --pairs 2

Ours runs a stage of its own and leaves the tokenised conversations, which TRL then packs (best fit decreasing, as ours)
and trains on with the same masks, batch and optimizer. The two take turns; the ratio is of tokens a second, padding not
counted. TRL masks documents by their positions, through SDPA. With `--lora RANK` both train adapters of that rank on all
linear layers but the last.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

RECIPE = """
run = {{ name = "bench", seed = 1, output = "{out}", backend = "{backend}", precision = "{precision}" }}
model = {{ checkpoint = "{model}" }}

[[stage]]
name = "sft"
kind = "sft"
sequence_length = {length}
global_batch = "{batch} sequences"
micro_batch = "{batch} sequences"
until = "{steps} steps"
template = "chatml-masked"
optimizer = {{ learning_rate = 1e-5 }}
schedule = {{ kind = "constant" }}
{lora}
data = [{{ name = "rows", paths = ["{rows}"] }}]
"""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="folder of a checkpoint with ChatML tokens")
    parser.add_argument("--rows", required=True, help="JSON lines with a column messages")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--lora", type=int, metavar="RANK")
    parser.add_argument("--backend", default="tch")
    parser.add_argument("--binary", default="target/release/smollm3")
    return parser.parse_args()


def ours(args, folder):
    recipe = os.path.join(folder, "recipe.toml")
    lora = f"lora = {{ rank = {args.lora}, alpha = {2 * args.lora} }}" if args.lora else ""
    with open(recipe, "w") as file:
        file.write(RECIPE.format(out=os.path.join(folder, "out"), model=os.path.abspath(args.model),
                                 rows=os.path.abspath(args.rows), length=args.length, batch=args.batch,
                                 lora=lora, steps=args.steps, backend=args.backend, precision=args.precision))
    subprocess.run([args.binary, "run", recipe], check=True, capture_output=True)
    stage = os.path.join(folder, "out", "sft")
    with open(os.path.join(stage, "ledger.json")) as file:
        packing = json.load(file)["packing"]
    fill = packing["kept"] / (packing["rows"] * packing["row"])
    with open(os.path.join(stage, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    seconds = [record["seconds"] for record in records if "seconds" in record][2:]
    return fill * args.batch * args.length / statistics.median(seconds)


def conversations(folder):
    store = os.path.join(folder, "out", "conversations", "sft", "train", "conversations.ds")
    with open(store + ".metadata") as file:
        width = int(file.readline().rsplit("|", 1)[1])
    tokens = numpy.fromfile(store, dtype="<u2" if width == 2 else "<u4")
    mask = numpy.fromfile(store + ".loss", dtype="u1")
    ends = numpy.fromfile(store + ".index", dtype="<u8")
    spans = list(zip([0, *ends[:-1]], ends))
    return Dataset.from_dict({"input_ids": [tokens[a:b].tolist() for a, b in spans],
                              "assistant_masks": [mask[a:b].tolist() for a, b in spans]})


class Clock(TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter() - self.begin)


def theirs(args, data, folder):
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    clock = Clock()
    # The collator takes the masks where they are there; `assistant_only_loss` wants to make them itself.
    settings = SFTConfig(output_dir=os.path.join(folder, "trl"), max_length=args.length, packing=True,
                         packing_strategy="bfd", per_device_train_batch_size=args.batch,
                         max_steps=args.steps, learning_rate=1e-5, lr_scheduler_type="constant", max_grad_norm=0.2,
                         optim="adamw_torch_fused", bf16=args.precision == "bf16", gradient_checkpointing=False,
                         use_cpu=True, report_to=[], save_strategy="no", logging_steps=1, seed=1)
    lora = LoraConfig(r=args.lora, lora_alpha=2 * args.lora, target_modules="all-linear") if args.lora else None
    trainer = SFTTrainer(model=model, args=settings, train_dataset=data, callbacks=[clock], peft_config=lora,
                         processing_class=AutoTokenizer.from_pretrained(args.model))
    lengths = [len(row) for row in trainer.train_dataset["input_ids"]]
    trainer.train()
    return args.batch * statistics.mean(lengths) / statistics.median(clock.times[2:])


def main():
    args = arguments()
    ratios = []
    for pair in range(args.pairs):
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(args, folder)
            time.sleep(1)
            peer = theirs(args, conversations(folder), folder)
        ratios.append(mine / peer)
        print(f"pair {pair + 1}: ours {mine:.0f} tokens/s, TRL {peer:.0f}: {ratios[-1]:.2f}", file=sys.stderr)
    print(json.dumps({"model": args.model, "length": args.length, "batch": args.batch, "precision": args.precision,
                      "lora": args.lora, "torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
                      "ratio": statistics.median(ratios), "ours": mine, "theirs": peer}, indent=2))


if __name__ == "__main__":
    main()
