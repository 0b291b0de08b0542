#!/usr/bin/env python3
"""What one CUDA card says of this project, in 8 minutes: called by gpu.sh.

In this order: fused operations against their plain bodies, fixtures and AdamW; the same steps twice, and a run killed and
resumed, to the bit; steps of the 3B model at 4k, 32k and 64k; transformers beside them; generation; NCCL alone; a step
kernel by kernel. Each part has a limit of its own, and the JSON is written after each, so that what goes wrong later loses
nothing. With --dry-run all of it runs on the CPU in small shapes: that nothing is misspelt is then known before.
"""
import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# Dense bf16 TFLOP/s by NVIDIA's data sheets.
PEAKS = {"H100": 989.4, "H200": 989.4, "A100": 312.0}
HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="smollm3")
    parser.add_argument("--tests", required=True, help="the test program `card`")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where the JSON goes")
    parser.add_argument("--seconds", type=float, default=480, help="for all parts together")
    parser.add_argument("--only", default="", help="parts whose names begin with one of these, divided by commas")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, in small shapes")
    return parser.parse_args()


class Failed(Exception):
    """Why a part has no figures."""


class Card:
    """The parts, and what they found so far."""

    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + args.seconds
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="smollm3-card-"))
        self.dry = args.dry_run
        self.device = ["--backend", "tch", "--device", "cpu" if self.dry else "cuda", "--precision", "bf16"]
        self.result = {"date": datetime.date.today().isoformat(), "dry_run": self.dry, "card": card_name(), "parts": {}}

    def part(self, name, seconds, work):
        """Runs `work(seconds)` and keeps what it returns, or why it does not."""
        if self.args.only and not name.startswith(tuple(self.args.only.split(","))):
            return
        begin = time.monotonic()
        seconds = min(seconds, self.end - begin)
        print(f"== {name}", file=sys.stderr, flush=True)
        entry = {"ok": False}
        try:
            if seconds < 3:
                raise Failed("no time was left")
            entry = {"ok": True, "found": work(seconds)}
        except subprocess.TimeoutExpired:
            entry["error"] = f"stopped after {seconds:.0f} s"
        except Failed as error:
            entry["error"] = str(error)
        except Exception as error:  # noqa: BLE001, whatever it is, the other parts go on
            entry["error"] = repr(error)
        entry["seconds"] = round(time.monotonic() - begin, 1)
        self.result["parts"][name] = entry
        self.write()
        print(f"   {'ok' if entry['ok'] else entry['error'][-600:]} ({entry['seconds']} s)", file=sys.stderr, flush=True)

    def write(self):
        draft = self.args.out.with_name(self.args.out.name + ".partial")
        draft.write_text(json.dumps(self.result, indent=1) + "\n")
        draft.replace(self.args.out)

    def run(self, command, seconds, **environment):
        """Standard output of a command that ends well."""
        done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Failed(f"exit {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def json(self, command, seconds):
        # Long rows leave little memory free; segments that grow leave no holes in it.
        return json.loads(self.run(command, seconds, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True"))

    def failed(self, name):
        """Whether a part has been tried in vain."""
        return not self.result["parts"].get(name, {"ok": True})["ok"]

    def config(self, **changes):
        """The file of the 3B model's configuration with other numbers; in a dry run a small one."""
        if self.dry:
            small = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
            changes = {**changes, **small}
        if not changes:
            return HERE.parent.parent / "configs/smollm3-3b.toml"
        text = (HERE.parent.parent / "configs/smollm3-3b.toml").read_text()
        for key, value in changes.items():
            text, found = re.subn(rf"(?m)^{key} = \d+", f"{key} = {value}", text)
            assert found == 1, key
        file = self.work / ("-".join(f"{key}{value}" for key, value in sorted(changes.items()))[:100] + ".toml")
        file.write_text(text)
        return file

    def length(self, tokens):
        return tokens // 64 if self.dry else tokens

    # The parts

    def tests(self, seconds, *options):
        """The test program: outcome by test."""
        device = f"tch:{self.device[3]}"
        command = [self.args.tests, "--test-threads=1", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
                              env={**os.environ, "SMOLLM3_TEST_DEVICE": device,
                                   "SMOLLM3_TEST_FIXTURES": str(HERE.parent.parent / "tests/fixtures")})
        outcomes = dict(re.findall(r"(?m)^test (\S+) \.\.\. (\w+)", done.stdout))
        # A test's own output may stand between its name and its outcome.
        failed = re.findall(r"(?m)^    (\S+)$", done.stdout.rpartition("failures:")[2])
        outcomes.update({name: "FAILED" for name in failed})
        if done.returncode != 0 or not outcomes:
            details = done.stdout.partition("failures:")[2] or done.stdout + done.stderr
            raise Failed(json.dumps(outcomes) + f"\nexit {done.returncode}: {details[-6000:]}")
        return outcomes

    def bits(self, seconds, *options):
        config = self.config(num_hidden_layers=4, vocab_size=8192, bos_token_id=1, eos_token_id=2)
        return self.json([self.args.binary, "bench", "bits", "--json", "--config", config, *self.device,
                          "--sequence-length", self.length(4096), "--documents", 4, "--micro-batch", 1, "--steps", 3,
                          *options], seconds)

    def killed(self, seconds):
        """A run killed with SIGKILL and resumed ends in the files of one that was not."""
        end = time.monotonic() + seconds
        changes = ["stage.pretrain.sequence_length=64", "model.config.hidden_size=64", "model.config.intermediate_size=128"]
        small = [word for change in changes for word in ("--set", change)] if self.dry else []

        def command(name):
            return [self.args.binary, "run", str(HERE / "gpu-recipe"), "--set", f"run.output={self.work / name}",
                    "--set", f"run.device={self.device[3]}", *small]

        self.run(command("whole"), seconds)
        reached = self.work / "killed/pretrain/step-00000004"
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not reached.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        was_killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.run(command("killed"), max(end - time.monotonic(), 1))
        last = "pretrain/step-00000012"
        names = sorted(path.name for path in (self.work / "whole" / last).iterdir())
        differ = [name for name in names
                  if (self.work / "whole" / last / name).read_bytes() != (self.work / "killed" / last / name).read_bytes()]
        found = {"was_killed": was_killed, "files": names, "differ": differ}
        if differ or not was_killed:
            raise Failed(json.dumps(found))
        return found

    def step(self, seconds, length, documents, rows, *options, steps=4):
        found = self.json([self.args.binary, "bench", "step", "--json", "--config", self.config(), *self.device,
                           "--sequence-length", self.length(length), "--documents", documents, "--micro-batch", rows,
                           "--steps", steps, *options], seconds)
        peak = next((peak for name, peak in PEAKS.items() if name in self.result["card"]), None)
        found["mfu"] = peak and found["gigaflops"] / 1e3 / peak
        return found

    def transformers(self, seconds, *options):
        if not all(map(importlib.util.find_spec, ["torch", "transformers"])):
            # Not a failure of this project's; but what is to run there has to be Python.
            compile((HERE / "step_vs_transformers.py").read_text(), "step_vs_transformers.py", "exec")
            return "python3 has no torch or no transformers"
        return self.json([sys.executable, HERE / "step_vs_transformers.py", "--config", self.config(),
                          "--device", self.device[3], "--precision", "bf16", "--sequence-length", self.length(4096),
                          "--micro-batch", 1, "--documents", 4, "--pairs", 1, "--steps", 4, "--no-compile", "--only-theirs",
                          *options], seconds)

    def generate(self, seconds, prompt, rows):
        return self.json([self.args.binary, "bench", "generate", self.config(), "--json", *self.device,
                          "--prompt", self.length(prompt), "--new", 8 if self.dry else 64, "--rows", rows,
                          "--rounds", 1], seconds)

    def all(self):
        step, recompute = self.step, "--recompute"
        # On the CPU CI has just run all of them.
        some = ["fused::heads", "fused::update", "parity::packed", "step::losses"] if self.dry else []
        self.part("parity", 110, lambda s: self.tests(s, "--skip", "nccl", *some))
        self.part("bits", 50, self.bits)
        self.part("killed-and-resumed", 60, self.killed)
        self.part("step-4k", 60, lambda s: step(s, 4096, 4, 1))
        if self.failed("step-4k") or self.dry:
            self.part("step-4k-recompute", 60, lambda s: step(s, 4096, 4, 1, recompute))
        self.part("step-4k-not-deterministic", 50,
                  lambda s: step(s, 4096, 4, 1, "--not-deterministic", *[recompute] * self.failed("step-4k")))
        self.part("step-4k-2-rows", 60, lambda s: step(s, 4096, 4, 2, recompute))
        self.part("step-4k-3-rows", 60, lambda s: step(s, 4096, 4, 3, recompute))
        self.part("step-32k", 70, lambda s: step(s, 32768, 8, 1, recompute, steps=2))
        self.part("step-64k", 90, lambda s: step(s, 65536, 8, 1, recompute, steps=1))
        self.part("transformers-4k", 60, self.transformers)
        if self.failed("transformers-4k") or self.dry:
            self.part("transformers-4k-recompute", 60, lambda s: self.transformers(s, recompute))
        self.part("generate", 60, lambda s: self.generate(s, 4096, 1))
        self.part("generate-16-rows", 60, lambda s: self.generate(s, 512, 16))
        self.part("nccl", 40, lambda s: self.tests(s, "nccl_with_one_rank"))
        self.part("profile-4k", 60,
                  lambda s: step(s, 4096, 4, 1, "--profile", *[recompute] * self.failed("step-4k"), steps=1))
        # Ends in failure where bits differ, which is what may happen here.
        self.part("bits-not-deterministic", 50, lambda s: self.bits(s, "--not-deterministic"))

    def table(self):
        for name, part in self.result["parts"].items():
            found = part.get("found")
            figures = ""
            if isinstance(found, dict):
                wanted = {"tokens_per_second": "{:.0f} tokens/s", "step_milliseconds": "{:.1f} ms", "mfu": "MFU {:.1%}",
                          "prefill_tokens_per_second": "prompt {:.0f}/s", "decode_tokens_per_second": "new {:.1f}/s",
                          "equal": "equal bits: {}", "theirs": "{}"}
                figures = ", ".join(text.format(found[key]) for key, text in wanted.items() if found.get(key) is not None)
                if memory := found.get("device_megabytes"):
                    figures += f", {memory['tensors'] / 1e3 if isinstance(memory, dict) else memory / 1e3:.1f} GB"
            print(f"{name:28} {'ok' if part['ok'] else 'FAILED':6} {part['seconds']:6.1f} s  {figures}")


def card_name():
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"none: {error}"


def main():
    args = arguments()
    card = Card(args)
    try:
        card.write()
        card.all()
    finally:
        shutil.rmtree(card.work, ignore_errors=True)
    card.table()
    sys.exit(not all(part["ok"] for name, part in card.result["parts"].items() if name != "bits-not-deterministic"))


if __name__ == "__main__":
    main()
