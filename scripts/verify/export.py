#!/usr/bin/env python3
"""Loads a checkpoint in transformers and compares its logits and greedy tokens with ours.

    pip install torch transformers
    scripts/verify/export.py runs/demo/pretrain/step-00000480 [PROMPT]

Exits with 1 if a logit differs by more than 1e-4 of the largest one, or a greedy token at all.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4
NEW_TOKENS = 24


def build(profile):
    """The example that writes our logits; built with the whole workspace, so that nothing is compiled twice."""
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--example", "logits", *profile], check=True)
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True,
                              capture_output=True).stdout
    folder = pathlib.Path(json.loads(metadata)["target_directory"]) / ("release" if profile else "debug")
    return folder / "examples" / "logits"


def ours(program, checkpoint, ids):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([program, checkpoint, out.name, *map(str, ids)], check=True)
        return torch.frombuffer(bytearray(out.read()), dtype=torch.float32).reshape(len(ids), -1)


def main():
    checkpoint, *prompt = [word for word in sys.argv[1:] if word != "--dev"]
    program = build([] if "--dev" in sys.argv else ["--release"])
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    text = prompt[0] if prompt else "Question: What is 27 + 15?\nThe `std` feature is enabled by default.\n"
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False,
                                pad_token_id=0)[0]
        logits = model(theirs[None]).logits[0]
    found = ours(program, checkpoint, theirs.tolist())
    worst = (found - logits).abs().max().item()
    largest = logits.abs().max().item()
    # Greedy decoding picks each token from the logits of the row before it.
    start = ids.shape[1]
    same = torch.equal(found[start - 1:-1].argmax(-1), theirs[start:])
    print(f"{type(model).__name__}: {len(theirs)} positions, logits up to {largest:.2f}, "
          f"largest difference {worst:.2e}; greedy tokens {'equal' if same else 'DIFFER'}")
    print(repr(tokenizer.decode(theirs[start:])))
    sys.exit(0 if same and worst <= TOLERANCE * max(1.0, largest) else 1)


if __name__ == "__main__":
    main()
