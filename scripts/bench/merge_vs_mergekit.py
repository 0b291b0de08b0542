#!/usr/bin/env python3
"""Time our linear merge against mergekit's: same checkpoints, same configuration, same machine, in turn.

    pip install numpy torch transformers mergekit==0.1.5
    python scripts/bench/merge_vs_mergekit.py [--folder DIR] [--rounds 3] [--layers 36] [--mergekit mergekit-yaml]

Makes two checkpoints of the shape of SmolLM3-3B (configs/smollm3-3b.toml) with random bfloat16 numbers, 6 GB each,
and merges them 0.9 to 0.1. Only one result is on the disk at a time, so 19 GB have to be free; --layers makes the
model smaller, --parents puts the checkpoints elsewhere. `cp` of one checkpoint, with and without waiting for the disk,
says what the machine can write: ours waits for the disk before it ends, mergekit does not. The best round counts,
process start included. The line `same` says whether all tensors are equal, to the bit.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

import numpy

REPOSITORY = Path(__file__).resolve().parents[2]
SHARD_BYTES = 5_000_000_000


def shapes(model: dict) -> list[tuple[str, list[int]]]:
    hidden, inner = model["hidden_size"], model["intermediate_size"]
    key_value = hidden // model["num_attention_heads"] * model["num_key_value_heads"]
    tensors = [("model.embed_tokens.weight", [model["vocab_size"], hidden])]
    for layer in range(model["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        tensors += [
            (block + "input_layernorm.weight", [hidden]),
            (block + "mlp.down_proj.weight", [hidden, inner]),
            (block + "mlp.gate_proj.weight", [inner, hidden]),
            (block + "mlp.up_proj.weight", [inner, hidden]),
            (block + "post_attention_layernorm.weight", [hidden]),
            (block + "self_attn.k_proj.weight", [key_value, hidden]),
            (block + "self_attn.o_proj.weight", [hidden, hidden]),
            (block + "self_attn.q_proj.weight", [hidden, hidden]),
            (block + "self_attn.v_proj.weight", [key_value, hidden]),
        ]
    return tensors + [("model.norm.weight", [hidden])]


def make_checkpoint(folder: Path, model: dict, seed: int) -> None:
    """Random bfloat16 numbers between 2^-6 and 2^-2 and their negatives, in files as transformers writes them."""
    folder.mkdir(parents=True)
    extra = {"model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(model | extra, indent=1))
    files, filled = [[]], 0
    for name, shape in shapes(model):
        size = int(numpy.prod(shape)) * 2
        if filled and filled + size > SHARD_BYTES:
            files.append([])
            filled = 0
        files[-1].append((name, shape, size))
        filled += size
    random = numpy.random.default_rng(seed)
    weight_map = {}
    for number, tensors in enumerate(files, 1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        header, end = {"__metadata__": {"format": "pt"}}, 0
        for name, shape, size in tensors:
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
            end += size
            weight_map[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _, _, size in tensors:
                bits = random.integers(0, 1 << 16, size // 2, dtype=numpy.uint16)
                # Sign and mantissa are random, the exponent is one of four.
                out.write(((bits & 0x81FF) + 0x3C80).astype("<u2").tobytes())
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(size for file in files for *_, size in file)}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def resident(pid: int) -> dict[str, int]:
    """Resident memory of a process in MiB: its own, and with the files that it has mapped."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "VmHWM")))
    return {name: int(value.split()[0]) // 1024 for name, value in fields.items()}


def timed(command: list[str]) -> dict:
    """Seconds and peak memory of a command; memory is looked at fifty times a second."""
    peak: dict[str, int] = {}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)

        def watch() -> None:
            while process.poll() is None:
                for name, value in resident(process.pid).items():
                    peak[name] = max(peak.get(name, 0), value)
                time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        seconds = time.perf_counter() - started
        watcher.join()
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{errors.read()[-3000:]}")
    return {
        "seconds": round(seconds, 2),
        "peak_mib": peak.get("VmHWM"),
        "peak_mib_without_mapped_files": peak.get("RssAnon"),
    }


def digests(folder: Path) -> dict[str, str]:
    """A hash of every tensor, whichever file it is in."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            for name, info in header.items():
                if name != "__metadata__":
                    start, end = info["data_offsets"]
                    file.seek(8 + length + start)
                    found[name] = info["dtype"] + hashlib.sha1(file.read(end - start)).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where results go, and the checkpoints too without --parents")
    parser.add_argument("--parents", help="where the two checkpoints go")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--mergekit", default="mergekit-yaml", help="the program; an empty text leaves it out")
    parser.add_argument("--mergekit-option", action="append", default=[], help="passed on, e.g. --lazy-unpickle")
    parser.add_argument("--ours", help="the built example; without it, cargo builds one")
    arguments = parser.parse_args()

    ours = arguments.ours
    if ours is None:
        build = ["cargo", "build", "--release", "--package", "smollm3-merge", "--example", "merge"]
        subprocess.run(build, cwd=REPOSITORY, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", str(REPOSITORY / "target"))
        ours = str(Path(target) / "release" / "examples" / "merge")

    model = tomllib.loads((REPOSITORY / "configs" / "smollm3-3b.toml").read_text())
    model["num_hidden_layers"] = arguments.layers or model["num_hidden_layers"]
    work = Path(tempfile.mkdtemp(prefix="merge-", dir=arguments.folder))
    places = Path(tempfile.mkdtemp(prefix="parents-", dir=arguments.parents)) if arguments.parents else work
    rounds: dict[str, list[dict]] = {"cp": [], "cp_and_sync": [], "ours": [], "mergekit": []}
    same = None
    try:
        first, second, out = places / "first", places / "second", work / "out"
        make_checkpoint(first, model, 1)
        make_checkpoint(second, model, 2)
        configuration = work / "merge.yaml"
        configuration.write_text(
            "merge_method: linear\nmodels:\n"
            f"- model: {first}\n  parameters:\n    weight: 0.9\n- model: {second}\n  parameters:\n    weight: 0.1\n"
            "dtype: bfloat16\n"
        )
        commands = {
            "cp": ["cp", "-r", str(first), str(out)],
            "cp_and_sync": ["sh", "-c", 'cp -r "$0" "$1" && sync "$1"/*', str(first), str(out)],
            "ours": [ours, "--config", str(configuration), "--out", str(out)],
        }
        if arguments.mergekit:
            options = ["--quiet", *arguments.mergekit_option]
            commands["mergekit"] = [arguments.mergekit, str(configuration), str(out), *options]
        hashes = {}
        for number in range(arguments.rounds):
            for name, command in commands.items():
                # Nobody pays for what the one before left to be written.
                os.sync()
                rounds[name].append(timed(command))
                if number == 0 and name in ("ours", "mergekit"):
                    hashes[name] = digests(out)
                shutil.rmtree(out)
        same = hashes["ours"] == hashes["mergekit"] if "mergekit" in hashes else None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(places, ignore_errors=True)

    best = {name: min((run["seconds"] for run in runs), default=None) for name, runs in rounds.items()}

    def ratio(a: str, b: str) -> float | None:
        return round(best[a] / best[b], 2) if best[a] and best[b] else None

    parameters = sum(int(numpy.prod(shape)) for _, shape in shapes(model))
    print(
        json.dumps(
            {
                "parameters": parameters,
                "cores": os.cpu_count(),
                "rounds": rounds,
                "times_faster_than_mergekit": ratio("mergekit", "ours"),
                "ours_to_cp": ratio("ours", "cp"),
                "ours_to_cp_and_sync": ratio("ours", "cp_and_sync"),
                "same": same,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
