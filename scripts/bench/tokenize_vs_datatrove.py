#!/usr/bin/env python3
"""Time our tokenisation against datatrove's: same files, same tokenizer, same machine, in turn.

    pip install datatrove[processing] tokenizers orjson
    python scripts/bench/tokenize_vs_datatrove.py TOKENIZER_JSON FOLDER_OF_JSONL [--rounds 3] [--workers N]

Both turn every `*.jsonl` of the folder into `.ds` files without shuffling. datatrove gets one task a file
and as many workers as there are cores; so give it at least that many files. The best round of each side
counts, process start included. The outputs are compared byte for byte: the line `same` says whether the
tokens and the document ends are equal.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
END_OF_TEXT = "<|end_of_text|>"


def run_datatrove(tokenizer: str, folder: str, output: str, workers: int) -> None:
    """One datatrove run, in this process: called in a child so that start-up is timed as well."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    files = sorted(Path(folder).glob("*.jsonl"))
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(folder, glob_pattern="*.jsonl"),
            DocumentTokenizer(output, tokenizer, eos_token=END_OF_TEXT, shuffle_documents=False),
        ],
        tasks=len(files),
        workers=workers,
        logging_dir=output + "/logs",
    ).run()


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and the peak memory in megabytes of the largest process."""
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"{command[0]} failed:\n{errors.read()}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def contents(folder: Path, suffix: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.ds" + suffix))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--engine", help="a built smollm3; without it, cargo builds one")
    parser.add_argument("--datatrove-into", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.datatrove_into:
        run_datatrove(arguments.tokenizer, arguments.folder, arguments.datatrove_into, arguments.workers)
        return

    engine = arguments.engine
    if engine is None:
        subprocess.run(["cargo", "build", "--release"], cwd=REPOSITORY, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", str(REPOSITORY / "target"))
        engine = str(Path(target) / "release" / "smollm3")

    # One process with many threads, or many processes with one: the second is datatrove's way, and
    # its library's own threads would only get in the way of the other workers.
    threads = "true" if arguments.workers == 1 else "false"
    environment = dict(os.environ, TOKENIZERS_PARALLELISM=threads, RAYON_NUM_THREADS=str(os.cpu_count()))
    ours, theirs, same = [], [], None
    for _ in range(arguments.rounds):
        work = Path(tempfile.mkdtemp(prefix="tokenize-"))
        try:
            command = [engine, "data", "tokenize", arguments.folder]
            command += ["--tokenizer", arguments.tokenizer, "--out", str(work / "ours")]
            ours.append(timed(command, environment))
            command = [sys.executable, __file__, arguments.tokenizer, arguments.folder]
            command += ["--workers", str(arguments.workers), "--datatrove-into", str(work / "theirs")]
            theirs.append(timed(command, environment))
            same = all(
                contents(work / "ours" / "train", suffix) == contents(work / "theirs", suffix)
                for suffix in ("", ".index")
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)

    megabytes = 0
    for path in Path(arguments.folder).glob("*.jsonl"):
        with path.open(encoding="utf-8") as lines:
            megabytes += sum(len(json.loads(line)["text"].encode()) for line in lines) / 1e6
    ours_best, theirs_best = min(ours)[0], min(theirs)[0]
    print(
        json.dumps(
            {
                "text_megabytes": round(megabytes, 2),
                "cores": os.cpu_count(),
                "ours_seconds": [round(seconds, 2) for seconds, _ in ours],
                "datatrove_seconds": [round(seconds, 2) for seconds, _ in theirs],
                "ours_megabytes_per_second": round(megabytes / ours_best, 2),
                "datatrove_megabytes_per_second": round(megabytes / theirs_best, 2),
                "times_faster": round(theirs_best / ours_best, 2),
                "ours_peak_megabytes": round(max(peak for _, peak in ours)),
                "datatrove_peak_megabytes_of_a_process": round(max(peak for _, peak in theirs)),
                "same": same,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
