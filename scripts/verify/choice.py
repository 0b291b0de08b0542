#!/usr/bin/env python3
"""Scores multiple-choice items in transformers and compares them with ours.

    pip install torch transformers
    scripts/verify/choice.py CHECKPOINT SUITE DATA [OPTION …]     # options of `smollm3 eval`
    scripts/verify/choice.py CHECKPOINT FOLDER                    # what an earlier `smollm3 eval --out FOLDER` found

Contexts and continuations are those of our log, whose wording scripts/verify/harness.py checks; tokens, log-likelihoods
and the chosen answers are transformers'. Exits with 1 if a log-likelihood differs by more than 1e-3 nats, or an
accuracy at all. SMOLLM3 names the program (default: cargo builds it).
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-3


def program():
    if "SMOLLM3" in os.environ:
        return os.environ["SMOLLM3"]
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "smollm3-cli"], check=True)
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True,
                              capture_output=True).stdout
    return str(pathlib.Path(json.loads(metadata)["target_directory"]) / "release" / "smollm3")


def log_likelihood(model, tokenizer, context, continuation):
    """One request alone: no packing, no padding."""
    space = context[len(context.rstrip()):]
    context = context.rstrip()
    whole = tokenizer(context + space + continuation).input_ids
    given = len(tokenizer(context).input_ids)
    with torch.no_grad():
        logits = model(torch.tensor([whole[:-1]])).logits[0, given - 1:].float()
    targets = torch.tensor(whole[given:])
    log_probs = logits.log_softmax(-1).gather(1, targets[:, None]).double()
    return log_probs.sum().item(), len(targets), bool((logits.argmax(-1) == targets).all())


def main():
    checkpoint, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(rest[0])
        if len(rest) > 1:
            suite, data, *options = rest
            folder = pathlib.Path(scratch) / "out"
            subprocess.run([program(), "eval", checkpoint, "--suite", suite, "--data", data, "--out", folder, *options],
                           check=True)
        items = [json.loads(line) for line in open(folder / "items.jsonl")]
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    lengths = {"raw": lambda text, tokens: 1, "per_character": lambda text, tokens: len(text),
               "per_byte": lambda text, tokens: len(text.encode()), "per_token": lambda text, tokens: tokens}
    worst, tokens_differ, greedy_differ = 0.0, 0, 0
    right = {name: [0, 0] for name in lengths}
    for item in items:
        scores = []
        for choice in item["choices"]:
            found = log_likelihood(model, tokenizer, choice.get("context", item.get("context")), choice["continuation"])
            worst = max(worst, abs(found[0] - choice["log_likelihood"]))
            tokens_differ += found[1] != choice["tokens"]
            greedy_differ += found[2] != choice["greedy"]
            scores.append((found[0], choice["continuation"].removeprefix(" "), found[1]))
        for name, length in lengths.items():
            normed = [score / length(text, tokens) for score, text, tokens in scores]
            right[name][0] += item["chosen"][name] == item["gold"]
            right[name][1] += normed.index(max(normed)) == item["gold"]
    print(f"{len(items)} items, {sum(len(item['choices']) for item in items)} log-likelihoods: "
          f"largest difference {worst:.2e} nats, {tokens_differ} of other length, {greedy_differ} other greedy flags")
    for name, (ours, theirs) in right.items():
        print(f"  {name:<14} ours {ours / len(items):.4f}  transformers {theirs / len(items):.4f}")
    same = all(ours == theirs for ours, theirs in right.values())
    sys.exit(0 if worst <= TOLERANCE and same and not tokens_differ else 1)


if __name__ == "__main__":
    main()
