#!/usr/bin/env python3
"""The cache of models, shared with Python's huggingface_hub: what one fetches the other finds.

Serves a checkpoint's folder as the Hub does, on 127.0.0.1, and asks for it three times over: by `smollm3` and then by
`huggingface_hub` offline; the other way round; and by one after the other was stopped in the middle of the weights.

Both are so with huggingface_hub 0.36.2 and 2.4.0; the former goes on with half a file, the latter begins it again.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install huggingface_hub
    /tmp/venv/bin/python scripts/verify/hub.py target/release/smollm3 FOLDER
"""

import argparse
import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "owner/name"


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Served:
    """The files of one commit, and what was asked for."""

    def __init__(self, folder):
        self.files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
        self.large = {name for name in self.files if name.endswith(".safetensors")}
        self.hashes = {
            name: hashlib.sha256(content).hexdigest() if name in self.large else git_hash(content)
            for name, content in self.files.items()
        }
        self.asked = []
        self.sent = 0
        self.stop_at = None
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                served.answer(self, body=False)

            def do_GET(self):
                served.answer(self, body=True)

        self.store = self.start(Handler)
        self.hub = self.start(Handler)

    @staticmethod
    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    def answer(self, request, body):
        path = request.path.split("?")[0]
        self.asked.append(f"{request.command} {path}")
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self.send(request, json.dumps([self.entry(name) for name in sorted(self.files)]).encode(), {}, body)
            return
        if path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in sorted(self.files)]
            self.send(request, json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode(), {}, body)
            return
        name = path.rsplit("/", 1)[-1]
        if path.startswith("/store/"):
            self.send(request, self.files[name], {"ETag": '"store"'}, body, stop_at=self.stop_at)
        elif name not in self.files:
            self.send(request, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body, status=404)
        elif name in self.large:
            headers = {
                "Location": f"{self.store}/store/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(self.files[name])),
                "X-Linked-Etag": f'"{self.hashes[name]}"',
            }
            self.send(request, b"", headers, body, status=302)
        else:
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{self.hashes[name]}"'}
            self.send(request, self.files[name], headers, body)

    def entry(self, name):
        content = self.files[name]
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
        if name in self.large:
            entry["lfs"] = {"oid": self.hashes[name], "size": len(content), "pointerSize": 134}
        return entry

    def send(self, request, content, headers, body, status=200, stop_at=None):
        wanted, begin = request.headers.get("Range"), 0
        if wanted and status == 200:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last or len(content) - 1)
            headers = headers | {"Content-Range": f"bytes {begin}-{end}/{len(content)}"}
            content, status = content[begin : end + 1], 206
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if not body:
            return
        part = content if stop_at is None else content[: max(stop_at - begin, 0)]
        request.wfile.write(part)
        request.wfile.flush()
        self.sent += len(part)
        if len(part) < len(content):
            # Nothing more comes: whoever asked is killed meanwhile.
            time.sleep(60)


def tree(home):
    """Names, links and contents of the cache, but for locks and what only one of the two keeps."""
    root = home / "hub" / "models--owner--name"
    found = {}
    for part in ("blobs", "refs", "snapshots"):
        for path in sorted((root / part).rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(root))] = os.readlink(path)
            elif path.is_file():
                found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def check(what, is_so):
    print(("ok    " if is_so else "WRONG ") + what)
    if not is_so:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("smollm3", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    binary = args.smollm3.resolve()
    served = Served(args.folder)
    scratch = Path(tempfile.mkdtemp(prefix="hub-verify-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)

    def environment(home, **more):
        own = {"HF_ENDPOINT": served.hub, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return kept | own | more

    def generate(home, check=True, **more):
        command = [binary, "generate", REPOSITORY, "--prompt", "The capital of France is", "--max-new-tokens", "5"]
        return subprocess.run(
            command, env=environment(home, **more), cwd=scratch, check=check, capture_output=True, text=True
        )

    def python(home, code, check=True, **more):
        return subprocess.run(
            [sys.executable, "-c", code], env=environment(home, **more), check=check, capture_output=True, text=True
        )

    wanted = sorted(name for name in served.files if name.endswith((".json", ".safetensors", ".jinja", ".txt")))
    download = (
        "from huggingface_hub import snapshot_download\n"
        f"print(snapshot_download({REPOSITORY!r}, allow_patterns={wanted!r}))"
    )

    ours = scratch / "ours"
    begun = time.monotonic()
    first = generate(ours)
    print(f"      fetched, loaded and answered in {time.monotonic() - begun:.1f} s: {first.stdout.strip()!r}")
    requests = len(served.asked)
    found = python(ours, download, HF_HUB_OFFLINE="1").stdout.strip()
    check("huggingface_hub finds offline what smollm3 fetched", Path(found).name == COMMIT)
    each = "from huggingface_hub import try_to_load_from_cache as look, _CACHED_NO_EXIST as no\n"
    names = [name for name in wanted if (Path(found) / name).exists()]
    code = each + f"print(all(isinstance(look({REPOSITORY!r}, name), str) for name in {names!r}), look({REPOSITORY!r}, 'tokenizer.model') is no)"
    check("it finds each file, and knows what the commit has not", python(ours, code).stdout.split() == ["True", "True"])
    check("neither asked the server", len(served.asked) == requests)

    theirs = scratch / "theirs"
    python(theirs, download)
    requests, sent = len(served.asked), served.sent
    again = generate(theirs, HF_HUB_OFFLINE="1")
    check("smollm3 finds offline what huggingface_hub fetched", again.stdout == first.stdout)
    check("and asked the server for nothing", len(served.asked) == requests)
    generate(theirs)
    check("online it asks once, and fetches nothing", (len(served.asked), served.sent - sent < 10_000) == (requests + 1, True))
    common = {name: value for name, value in tree(theirs).items() if "README" not in name}
    kept = tree(ours)
    check("both caches are the same, links, refs and blobs", {name: common.get(name) for name in kept} == kept)

    for stopped, goes_on in (("smollm3", "huggingface_hub"), ("huggingface_hub", "smollm3")):
        home = scratch / f"{stopped}-stopped"
        served.stop_at = 40_000_000
        command = [binary, "generate", REPOSITORY, "--prompt", "a"] if stopped == "smollm3" else [sys.executable, "-c", download]
        process = subprocess.Popen(command, env=environment(home), cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        blobs = home / "hub" / "models--owner--name" / "blobs"
        for _ in range(300):
            if any(path.suffix == ".incomplete" for path in blobs.glob("*.incomplete")) and served.sent > sent:
                break
            time.sleep(0.1)
        time.sleep(2)
        process.kill()
        process.wait()
        served.stop_at = None
        sent = served.sent
        begun_with = max((path.stat().st_size for path in blobs.glob("*.incomplete")), default=0)
        if goes_on == "smollm3":
            done = generate(home).stdout == first.stdout
        else:
            done = Path(python(home, download).stdout.strip()).name == COMMIT
        common = {name: value for name, value in tree(home).items() if name in kept}
        there = f"{begun_with:,} bytes were there, {served.sent - sent:,} came"
        check(f"{goes_on} ends what {stopped} was killed at ({there})", done and common == kept)


if __name__ == "__main__":
    main()
