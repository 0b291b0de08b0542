#!/usr/bin/env python3
"""Time our packing against TRL's `pack_dataset`: same lengths, same machine, in turn.

    pip install trl==0.24.0 datasets
    python scripts/bench/pack_vs_trl.py [--documents 1000000] [--row 8192] [--groups 1000 0] [--rounds 3]

The lengths are log-normal. TRL gets a data set whose tokens are Arrow nulls, which take no memory, so that
it is timed for placing documents and not for copying tokens; loading and starting up are left out on both
sides. `--groups` are documents packed apart from the others, 1000 being TRL's default and 0 the whole set
at once. The best round of each side counts. The line `same` says whether both made the same rows: as many
fragments in each, of the same lengths, in the same order.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def make_lengths(arguments: argparse.Namespace):
    import numpy as np

    drawn = np.random.default_rng(arguments.seed).lognormal(
        np.log(arguments.median), arguments.sigma, arguments.documents
    )
    return np.clip(drawn.round(), 1, None).astype(np.int64)


def null_dataset(lengths):
    """Documents of these lengths whose tokens are nulls."""
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

    ends = np.concatenate(([0], np.cumsum(lengths)))
    documents = pa.LargeListArray.from_arrays(pa.array(ends), pa.nulls(int(ends[-1])))
    return Dataset(pa.table({"input_ids": documents}))


def run_trl(lengths, row: int, group: int) -> tuple[float, list[list[int]]]:
    """Seconds, and the lengths of the fragments of each row."""
    from trl import pack_dataset

    dataset = null_dataset(lengths)
    options = {"batch_size": group, "keep_in_memory": True, "load_from_cache_file": False}
    started = time.perf_counter()
    packed = pack_dataset(dataset, row, "bfd", map_kwargs=options)
    seconds = time.perf_counter() - started
    return seconds, packed["seq_lengths"][:]


def run_ours(example: str, path: Path, row: int, group: int) -> tuple[dict, list[list[int]]]:
    """The report, and the lengths of the fragments of each row."""
    rows = path.with_name("rows.txt")
    command = [example, str(path), str(row), "bfd", str(group), str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{example} failed:\n{done.stderr}")
    lines = rows.read_text().splitlines()
    return json.loads(done.stdout), [[int(length) for length in line.split()] for line in lines]


def built_example() -> str:
    build = ["cargo", "build", "--release", "-p", "smollm3-packing", "--example", "pack"]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", str(REPOSITORY / "target"))
    return str(Path(target) / "release" / "examples" / "pack")


def compare(example: str, lengths, path: Path, row: int, group: int, rounds: int) -> dict:
    ours, theirs = [], []
    for _ in range(rounds):
        report, our_rows = run_ours(example, path, row, group)
        ours.append(report["seconds"])
        seconds, their_rows = run_trl(lengths, row, group)
        theirs.append(seconds)
    return {
        "group": group,
        "rows": len(our_rows),
        "trl_rows": len(their_rows),
        "same": our_rows == their_rows,
        "fill": round(report["fill"], 5),
        "ours_seconds": [round(seconds, 4) for seconds in ours],
        "trl_seconds": [round(seconds, 2) for seconds in theirs],
        "times_faster": round(min(theirs) / min(ours), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--row", type=int, default=8192)
    parser.add_argument("--median", type=float, default=300)
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", type=int, nargs="+", default=[1000, 0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--example", help="the built example; without it, cargo builds one")
    arguments = parser.parse_args()

    import datasets
    import trl

    datasets.disable_progress_bars()
    example = arguments.example or built_example()
    lengths = make_lengths(arguments)
    with tempfile.TemporaryDirectory(prefix="pack-") as work:
        path = Path(work) / "lengths.txt"
        path.write_text("\n".join(map(str, lengths)))
        runs = [
            compare(example, lengths, path, arguments.row, group or arguments.documents, arguments.rounds)
            for group in arguments.groups
        ]
    print(
        json.dumps(
            {
                "documents": arguments.documents,
                "tokens": int(lengths.sum()),
                "row": arguments.row,
                "cores": os.cpu_count(),
                "trl": trl.__version__,
                "datasets": datasets.__version__,
                "runs": runs,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
