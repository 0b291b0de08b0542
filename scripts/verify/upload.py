#!/usr/bin/env python3
"""Uploads, seen by Python's huggingface_hub: what smollm3 sends it gets back, and what it sends smollm3 finds there.

A server on 127.0.0.1 takes uploads as the Hub does: creating, preupload, the LFS batch API with addresses for parts, commits.
Python's client is asked first, so that the server is known to be one that it can use.

So with huggingface_hub 0.36.2 and 2.4.0.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install huggingface_hub
    /tmp/venv/bin/python scripts/verify/upload.py target/release/smollm3 CHECKPOINT
"""

import argparse
import atexit
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "hf_write"
PART = 8_000_000


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def is_large(name, size):
    return name.endswith(".safetensors") or size > 1_000_000


class Hub:
    """Repositories by name: branches to commits, commits to files."""

    def __init__(self):
        self.branches, self.commits, self.objects, self.parts, self.asked = {}, {}, {}, {}, []
        self.lock = threading.Lock()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.split("?")[0]
                with hub.lock:
                    hub.asked.append((self.command, path, len(body)))
                    status, headers, content = hub.answer(self, path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = handle_one

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{server.server_address[1]}"

    def answer(self, request, path, body):
        def said(value, status=200, **headers):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()

        if request.command == "PUT":
            key = path.removeprefix("/store/")
            self.parts[key] = body
            if "/" not in key:
                self.objects[key] = body
            return 200, {"ETag": f'"{sha256(body)}"'}, b""
        if request.command == "POST" and request.headers.get("Authorization") != f"Bearer {TOKEN}" and path != "/complete":
            return said({"error": "Invalid credentials in Authorization header"}, 401)
        asked = json.loads(body) if body and "x-ndjson" not in request.headers.get("Content-Type", "") else None
        if path == "/api/repos/create":
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.branches:
                return said({"error": "You already created this model repo"}, 409)
            self.branches[name] = {}
            self.commit(name, "main", {".gitattributes": b""})
            return said({"url": f"{self.address}/{name}", "id": name})
        if path == "/api/validate-yaml":
            return said({"errors": [], "warnings": []})
        if path == "/api/whoami-v2":
            return said({"name": "owner", "type": "user", "orgs": []})
        if path == "/complete":
            parts = [self.parts[f"{asked['oid']}/{part['partNumber']}"] for part in asked["parts"]]
            tags = [f'"{sha256(part)}"' for part in parts]
            if [part["etag"] for part in asked["parts"]] != tags:
                return said({"error": "ETags differ"}, 400)
            self.objects[asked["oid"]] = b"".join(parts)
            return said({})
        if path == "/verify":
            content = self.objects.get(asked["oid"], b"")
            return said({}, 200 if (sha256(content), len(content)) == (asked["oid"], asked["size"]) else 400)
        if path.endswith(".git/info/lfs/objects/batch"):
            return said({"transfer": "basic", "objects": [self.object(one) for one in asked["objects"]]})
        words = [urllib.parse.unquote(word) for word in path.strip("/").split("/")]
        name = "/".join(words[2:4] if words[0] == "api" else words[:2])
        if name not in self.branches:
            return said({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        rest = words[4:] if words[0] == "api" else words[2:]
        branches = self.branches[name]
        if not rest:
            rest = ["revision", "main"]
        action, revision, file = rest[0], rest[1], "/".join(rest[2:])
        if action == "branch":
            if revision in branches:
                return said({"error": "Reference already exists"}, 409)
            branches[revision] = branches.get(asked["startingPoint"], asked["startingPoint"])
            return said({})
        commit = branches.get(revision, revision)
        if commit not in self.commits:
            return said({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        files = self.commits[commit]
        if action == "revision":
            return said({"id": name, "sha": commit, "private": False, "siblings": [{"rfilename": one} for one in files]})
        if action == "tree":
            return said([self.entry(one, content) for one, content in files.items()])
        if action == "preupload":
            return said({"files": [self.preuploaded(one, files) for one in asked["files"]]})
        if action == "commit":
            return self.committed(said, name, revision, commit, dict(files), body)
        if file not in files:
            return said({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = files[file]
        tag = sha256(content) if is_large(file, len(content)) else git_hash(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}
        return self.ranged(request, content, headers)

    @staticmethod
    def ranged(request, content, headers):
        wanted = request.headers.get("Range")
        if not wanted:
            return 200, headers, content
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(first), int(last or len(content) - 1)
        return 206, headers | {"Content-Range": f"bytes {begin}-{end}/{len(content)}"}, content[begin : end + 1]

    def commit(self, name, branch, files):
        commit = hashlib.sha1(repr((name, branch, len(self.commits))).encode()).hexdigest()
        self.commits[commit] = files
        self.branches[name][branch] = commit
        return commit

    def object(self, asked):
        oid, size = asked["oid"], asked["size"]
        if oid in self.objects:
            return {"oid": oid, "size": size}
        upload = {"href": f"{self.address}/store/{oid}"}
        if size > PART:
            parts = range(1, -(-size // PART) + 1)
            header = {str(number): f"{self.address}/store/{oid}/{number}" for number in parts}
            upload = {"href": f"{self.address}/complete", "header": {"chunk_size": str(PART), **header}}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": {"href": f"{self.address}/verify"}}}

    @staticmethod
    def preuploaded(asked, files):
        name, large = asked["path"], is_large(asked["path"], asked["size"])
        found = files.get(name)
        oid = None if found is None else sha256(found) if large else git_hash(found)
        return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    @staticmethod
    def entry(name, content):
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
        if is_large(name, len(content)):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
        return entry

    def committed(self, said, name, branch, head, files, body):
        for line in body.splitlines():
            line = json.loads(line)
            value = line["value"]
            if line["key"] == "header":
                if value.get("parentCommit", head) != head:
                    return said({"error": "A commit has happened since"}, 412)
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                return said({"error": f"{line['key']}?"}, 400)
        oid = self.commit(name, branch, files)
        return said({"success": True, "commitOid": oid, "commitUrl": f"{self.address}/{name}/commit/{oid}"})


def check(what, is_so):
    print(("ok    " if is_so else "WRONG ") + what)
    if not is_so:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("smollm3", type=Path)
    parser.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    binary, checkpoint = arguments.smollm3.resolve(), arguments.checkpoint.resolve()
    scratch = Path(tempfile.mkdtemp(prefix="smollm3-upload-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    hub = Hub()
    environment = os.environ | {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(scratch / "home"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def smollm3(*words):
        done = subprocess.run([binary, *map(str, words)], env=environment, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr)
        return done.stdout if done.returncode == 0 else None

    def python(code):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr)
        return done.stdout if done.returncode == 0 else None

    def files(repository, branch="main"):
        found = dict(hub.commits[hub.branches[repository][branch]])
        found.pop(".gitattributes")
        return found

    plain = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
    folder = scratch / "folder"
    folder.mkdir()
    sent = ("config", "generation_config", "tokenizer", "model", "chat_template", "special_tokens_map")
    for name, content in plain.items():
        if name.startswith(sent):
            (folder / name).write_bytes(content)
    upload = (
        "from huggingface_hub import HfApi\napi = HfApi()\napi.create_repo('owner/theirs', exist_ok=True)\n"
        f"api.upload_folder(repo_id='owner/theirs', folder_path={str(folder)!r})"
    )
    check("huggingface_hub uploads to this server", python(upload) is not None)

    hub.objects.clear()
    out = smollm3("upload", checkpoint, "owner/ours")
    check(f"smollm3 uploads: {(out or '').strip()}", out is not None)
    ours, theirs = files("owner/ours"), files("owner/theirs")
    check("of the model the same files", {name: ours.get(name) for name in theirs} == theirs)
    check(f"and beside them {sorted(set(ours) - set(theirs))}", set(ours) - set(theirs) <= {"README.md", "recipe.toml"})
    check("none of the state of training", not any(name.startswith("optimizer") or name == "state.json" for name in ours))

    download = "from huggingface_hub import snapshot_download\nprint(snapshot_download('owner/ours'))"
    found = Path((python(download) or "").strip())
    same = {name: (found / name).read_bytes() for name in ours} == ours
    check("huggingface_hub downloads all of it", same)
    card = "from huggingface_hub import ModelCard\ncard = ModelCard.load('owner/ours')\nprint(card.data.library_name, card.data.pipeline_tag)"
    check("and reads the card", (python(card) or "").split() == ["transformers", "text-generation"])

    before = len(hub.asked)
    out = smollm3("upload", checkpoint, "owner/theirs")
    puts = [path for command, path, _ in hub.asked[before:] if command == "PUT"]
    check("what huggingface_hub has sent is not sent again", out is not None and puts == [])
    before = len(hub.asked)
    again = "from huggingface_hub import HfApi\nHfApi().upload_folder(repo_id='owner/ours', folder_path=%r)" % str(folder)
    check("nor by huggingface_hub what smollm3 has sent", python(again) is not None)
    paths = [path for command, path, _ in hub.asked[before:] if command == "PUT" or "/commit/" in path]
    check("which makes no commit either", paths == [])
    out = smollm3("upload", checkpoint, "owner/ours", "--revision", "kept/one")
    check("a branch with a slash", out is not None and files("owner/ours", "kept/one").keys() == ours.keys())


if __name__ == "__main__":
    main()
