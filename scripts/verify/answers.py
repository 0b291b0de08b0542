#!/usr/bin/env python3
"""Asks a checkpoint in transformers and in `smollm3 serve`: the same prompts in tokens, the same greedy tokens.

    pip install torch transformers
    scripts/verify/answers.py target/release/smollm3 CHECKPOINT

Texts are encoded by transformers and continued by both; conversations are written by both templates, whose prompts must be
of the same tokens (compared by their number, and by what the model says to either). What else others read is looked at
too: the metadata of the safetensors files, and the tokens that end an answer. Exits with 1 if anything differs, or the server
refuses what it should not.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import urllib.request

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 24
TEXTS = [
    "What is 27 + 15?",
    "The capital of France is",
    "# Usage\n\n```rust\nfn main() {",
    "It's 12345 words,\r\n\tthey'LL say naïve Ελληνικά 漢字 한국어",
]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum of two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
USER = {"role": "user", "content": "What is 2 + 3?"}
CHATS = [
    ([USER], {}),
    ([{"role": "system", "content": "Be short."}, USER], {}),
    ([{"role": "system", "content": "/no_think"}, USER], {}),
    ([USER, {"role": "assistant", "content": "5"}, {"role": "user", "content": "And 4 + 4?"}], {}),
    ([USER], {"enable_thinking": False}),
    ([USER], {"enable_thinking": True}),
    ([{"role": "system", "content": "/system_override Answer in one word."}, USER], {}),
    ([USER], {"xml_tools": [TOOL]}),
]
# Variables that a template may not know; what it leaves out, the server refuses by this name.
REFUSABLE = ["xml_tools"]


def byte_decoder():
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    letters |= {chr(256 + index): byte for index, byte in enumerate(byte for byte in range(256) if byte not in plain)}
    return letters


BYTES = byte_decoder()


class Server:
    def __init__(self, program, checkpoint):
        self.process = subprocess.Popen([program, "serve", checkpoint, "--port", "0"], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.address = next(word for word in line.split() if word.startswith("http"))

    def ask(self, path, body):
        request = urllib.request.Request(
            f"{self.address.rstrip('/').removesuffix('/v1')}/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            return {"error": json.load(error)["error"]["message"]}

    def tokens(self, ids):
        body = {"prompt": ids, "max_tokens": NEW_TOKENS, "temperature": 0, "logprobs": 0}
        choice = self.ask("completions", body)["choices"][0]
        return [as_bytes(token) for token in choice["logprobs"]["tokens"]], choice["text"]


def as_bytes(token):
    if token.startswith("bytes:"):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("smollm3")
    parser.add_argument("checkpoint")
    arguments = parser.parse_args()
    faults = 0

    def check(what, holds, more=""):
        nonlocal faults
        faults += not holds
        print(f"{'same     ' if holds else 'DIFFERENT'} {what}{more if not holds else ''}")

    print(f"transformers {transformers.__version__}")
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])

    def theirs(ids):
        given = torch.tensor([ids])
        with torch.no_grad():
            out = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=NEW_TOKENS, do_sample=False,
                                 pad_token_id=0)[0]
        return out[len(ids):].tolist()

    def token_bytes(id):
        text = tokenizer.convert_ids_to_tokens(id)
        is_added = id in tokenizer.added_tokens_decoder
        return text.encode() if is_added else bytes(BYTES[letter] for letter in text)

    for path in sorted(pathlib.Path(arguments.checkpoint).glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            check(f"{path.name}: metadata", file.metadata() == {"format": "pt"}, f": {file.metadata()}")
    given = tokenizer(TEXTS[0], return_tensors="pt")
    check("what the tokenizer gives, the model takes", set(given) == {"input_ids", "attention_mask"}, f": {set(given)}")
    server = Server(arguments.smollm3, arguments.checkpoint)
    try:
        for text in TEXTS:
            ids = tokenizer(text)["input_ids"]
            found, _ = server.tokens(ids)
            expected = [token_bytes(id) for id in theirs(ids)]
            check(f"{len(expected)} greedy tokens after {text!r}", found == expected, f"\n  {expected}\n  {found}")
        if tokenizer.chat_template is None:
            print("no chat template")
        for messages, settings in CHATS if tokenizer.chat_template else []:
            encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, **settings)
            ids = list(encoded["input_ids"])
            body = {"messages": messages, "temperature": 0, "max_tokens": NEW_TOKENS, "chat_template_kwargs": settings}
            answer = server.ask("chat/completions", body)
            what = f"{len(ids)} tokens of {json.dumps(messages)} {json.dumps(settings)}"
            if "error" in answer:
                expected = any(name in settings and name in answer["error"] for name in REFUSABLE)
                check(f"refusal of {what}", expected, f": {answer['error']}")
                continue
            check(f"prompt of {what}", answer["usage"]["prompt_tokens"] == len(ids), f": {answer['usage']}")
            found, text = server.tokens(ids)
            new = theirs(ids)
            check("  and the greedy tokens of its answer", found == [token_bytes(id) for id in new], f"\n  {new}\n  {found}")
            message = answer["choices"][0]["message"]
            said = (message.get("reasoning_content") or "") + (message.get("content") or "")
            plain = text.replace("<think>", "").replace("</think>", "")
            check("  and the answer's text", said.split() == plain.split(), f"\n  {plain!r}\n  {said!r}")
            check("  and how it ends", (answer["choices"][0]["finish_reason"] == "stop") == (new[-1] in ends))
    finally:
        server.process.terminate()
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
