#!/usr/bin/env python3
"""Runs tasks of lm-evaluation-harness on a local file and compares what it finds with ours, item by item.

    pip install lm-eval torch transformers
    smollm3 eval CHECKPOINT --suite arc-easy --data DATA.jsonl [--shots N] --out FOLDER
    scripts/verify/harness.py CHECKPOINT FOLDER TASK DATA.jsonl [http://127.0.0.1:8000]

With an address the harness asks `smollm3 serve CHECKPOINT` there (local-completions); without, it computes by itself (hf).

TASK is the harness's name of the suite: hellaswag, arc_easy, arc_challenge, piqa, winogrande, openbookqa,
commonsense_qa, boolq, or a subject such as mmlu_anatomy or mmlu_anatomy_continuation (then its part of the items is
compared). Its YAML is taken as it is but for the place of the data, the examples (the first rows, as ours) and
the measures. Exits with 1 if a log-likelihood differs by more than 1e-3, or an accuracy or its standard error at all.
"""
import json
import pathlib
import sys
import tempfile

import lm_eval
import lm_eval.tasks
import transformers

TOLERANCE = 1e-3
MEASURES = {"acc": "raw", "acc_norm": "per_character", "acc_bytes": "per_byte"}

OVERRIDES = """
include: {path}
task: local
tag: null
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    test: {rows}
training_split: null
validation_split: null
test_split: test
fewshot_split: test
fewshot_config:
  sampler: first_n
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_bytes
"""


def yaml_of(name):
    root = pathlib.Path(lm_eval.tasks.__file__).parent
    line = f"task: {name}"
    for path in sorted(root.rglob("*.yaml")):
        if any(text.strip().replace('"', "") == line for text in path.read_text().splitlines()):
            return path
    sys.exit(f"lm-eval has no task {name}")


def mean(values):
    """The mean and the harness's standard error of it."""
    found = sum(values) / len(values)
    return found, (sum((value - found) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5


def main():
    checkpoint, folder, name, data, *server = sys.argv[1:]
    folder = pathlib.Path(folder)
    shots = json.loads((folder / "settings.json").read_text())["shots"]
    items = {item["item"]: item for item in map(json.loads, open(folder / "items.jsonl"))}
    rows = [json.loads(line) for line in open(data)]
    kept = range(len(rows))
    if name.startswith("mmlu_"):
        subject = name.removeprefix("mmlu_").removesuffix("_continuation")
        kept = [index for index in kept if rows[index]["subject"] == subject]
    ours = [items[index] for index in kept if index in items]
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "rows.jsonl"
        file.write_text("".join(json.dumps(rows[index]) + "\n" for index in kept))
        (pathlib.Path(scratch) / "local.yaml").write_text(OVERRIDES.format(path=yaml_of(name), rows=file))
        model = {"model": "hf", "model_args": {"pretrained": checkpoint, "dtype": "float32"}, "device": "cpu"}
        if server:
            tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
            # hf takes the tokenizer's word for it, local-completions has to be told.
            begins = tokenizer("a").input_ids[0] == tokenizer.bos_token_id
            model = {"model": "local-completions",
                     "model_args": {"model": checkpoint, "base_url": f"{server[0]}/v1/completions",
                                    "add_bos_token": begins}}
        found = lm_eval.simple_evaluate(
            **model, batch_size=8, tasks=["local"],
            task_manager=lm_eval.tasks.TaskManager(include_path=scratch), limit=len(ours), num_fewshot=shots,
            log_samples=True, bootstrap_iters=1000)
    worst, contexts = 0.0, 0
    for item, sample in zip(ours, sorted(found["samples"]["local"], key=lambda sample: sample["doc_id"]), strict=True):
        for choice, response, request in zip(item["choices"], sample["resps"], sample["arguments"], strict=True):
            worst = max(worst, abs(float(response[0][0]) - choice["log_likelihood"]))
            contexts += (choice.get("context", item.get("context")), choice["continuation"]) != tuple(request)
    print(f"{name}, {shots}-shot, {len(ours)} items: largest difference {worst:.2e} nats, "
          f"{contexts} requests worded otherwise")
    same = True
    for theirs, measure in MEASURES.items():
        figures = found["results"]["local"]
        accuracy, error = figures[f"{theirs},none"], figures[f"{theirs}_stderr,none"]
        our_accuracy, our_error = mean([float(item["chosen"][measure] == item["gold"]) for item in ours])
        print(f"  {theirs:<10} ours {our_accuracy:.4f} ± {our_error:.4f}  lm-eval {accuracy:.4f} ± {error:.4f}")
        same &= abs(accuracy - our_accuracy) < 1e-9 and abs(error - our_error) < 1e-9
    # Of a gap filled with two nouns (winogrande), only acc is a measure.
    sys.exit(0 if worst <= TOLERANCE and not contexts and (same or name == "winogrande") else 1)


if __name__ == "__main__":
    main()
