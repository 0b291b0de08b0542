#!/usr/bin/env python3
"""Writes rotary frequencies of random YaRN settings as the installed transformers computes them, for model/tests/rope.rs.

    pip install torch transformers
    scripts/verify/rope.py tests/fixtures/model/yarn_random.json            # writes the file
    scripts/verify/rope.py tests/fixtures/model/yarn_random.json --compare  # exits with 1 if this version differs from it

The file was written with transformers 4.57.3 and compared with 5.24.0.
"""
import json
import pathlib
import random
import sys

import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = 48


def case(draw):
    """A random configuration; each optional key is there in about half of them."""
    length = draw.choice([64, 128, 2048, 4096])
    settings = {"rope_type": "yarn", "factor": draw.choice([1.0, 1.5, 4.0, 16.0, 40.0]),
                "original_max_position_embeddings": length}
    optional = {
        "beta_fast": lambda: draw.choice([16.0, 32.0, 64.0]),
        "beta_slow": lambda: draw.choice([0.5, 1.0, 4.0]),
        "attention_factor": lambda: round(draw.uniform(0.5, 1.5), 4),
        "mscale": lambda: draw.choice([0.0, 0.5, 0.707, 1.0, 1.3]),
        "mscale_all_dim": lambda: draw.choice([0.0, 0.5, 0.707, 1.0]),
        "truncate": lambda: draw.random() < 0.4,
    }
    for key, value in optional.items():
        if draw.random() < (0.25 if key == "attention_factor" else 0.5):
            settings[key] = value()
    return {"head_dim": draw.choice([8, 16, 64]), "rope_theta": draw.choice([1e4, 5e5, 5e6]),
            "max_position_embeddings": int(length * settings["factor"]), "rope_scaling": settings}


def computed(settings):
    config = LlamaConfig(hidden_size=2 * settings["head_dim"], num_attention_heads=2, **settings)
    frequencies, factor = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    return {"attention_scaling": factor, "inv_freq": frequencies.tolist()}


def main():
    path, *options = sys.argv[1:]
    draw = random.Random(7)
    cases = [settings | computed(json.loads(json.dumps(settings))) for settings in (case(draw) for _ in range(CASES))]
    if options == ["--compare"]:
        known = json.loads(pathlib.Path(path).read_text())["cases"]
        differ = [i for i, (one, other) in enumerate(zip(known, cases, strict=True)) if one != other]
        print(f"transformers {transformers.__version__}: {len(cases) - len(differ)} of {len(cases)} cases equal; differ: {differ}")
        sys.exit(1 if differ else 0)
    lines = ",\n".join(json.dumps(one) for one in cases)
    pathlib.Path(path).write_text(f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
