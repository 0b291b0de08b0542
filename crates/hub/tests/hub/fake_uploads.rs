//! Uploads to the fake Hub: creation, preupload, the LFS store with its parts, commits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Files, Repository, Request, git_hash, is_large, sha256};

/// The token that may write.
pub const TOKEN: &str = "hf_write";

const MODEL: &str = "/api/models/owner/name/";

/// What the Hub answers to a POST.
pub(super) fn answer(repository: &mut Repository, store: &str, request: &Request) -> Answer {
    let token = request.headers.get("authorization").map_or("", String::as_str);
    match token.strip_prefix("Bearer ") {
        Some(TOKEN) => {}
        Some("hf_read") => return refused(403, "you must use a write token to upload to a repository"),
        _ => return refused(401, "Invalid credentials in Authorization header"),
    }
    let path = request.path.as_str();
    if path == "/api/repos/create" {
        return create(repository, &body(request));
    }
    if repository.branches.is_empty() {
        return Answer::status(404).header("X-Error-Code", "RepoNotFound");
    }
    if let Some(branch) = path.strip_prefix(&format!("{MODEL}branch/")) {
        return create_branch(repository, &decoded(branch), &body(request));
    }
    if let Some(branch) = path.strip_prefix(&format!("{MODEL}preupload/")) {
        return preupload(repository, &decoded(branch), &body(request));
    }
    if let Some(branch) = path.strip_prefix(&format!("{MODEL}commit/")) {
        return commit(repository, &decoded(branch), &request.body);
    }
    let hub = format!("http://{}", request.headers["host"]);
    match path {
        "/owner/name.git/info/lfs/objects/batch" => batch(repository, store, &hub, &body(request)),
        "/complete" => complete(repository, &body(request)),
        "/verify" => verify(repository, &body(request)),
        _ => Answer::status(404),
    }
}

/// Bytes for the store: `/put/OID` or `/put/OID/PART`.
pub(super) fn take(repository: &mut Repository, request: &Request) -> Answer {
    if request.headers.contains_key("authorization") {
        return refused(400, "a token came to the store");
    }
    let path = request
        .path
        .trim_start_matches("/put/")
        .split('?')
        .next()
        .unwrap();
    let bytes = request.body.clone();
    match path.split_once('/') {
        None => {
            repository.objects.insert(path.to_owned(), bytes);
        }
        Some((oid, part)) => {
            let part: usize = part.parse().unwrap();
            repository.parts.insert((oid.to_owned(), part), bytes);
        }
    }
    Answer::status(200).header("ETag", format!("\"etag of {path}\""))
}

fn refused(status: u16, message: &str) -> Answer {
    Answer {
        status,
        ..Answer::body(json!({ "error": message }).to_string())
    }
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn decoded(branch: &str) -> String {
    branch.replace("%2F", "/")
}

fn create(repository: &mut Repository, asked: &Value) -> Answer {
    if !repository.branches.is_empty() {
        return refused(409, "You already created this model repo");
    }
    assert_eq!(asked["type"], "model");
    assert_eq!(
        (&asked["organization"], &asked["name"]),
        (&json!("owner"), &json!("name"))
    );
    repository.is_private = asked["private"] == true;
    add_commit(
        repository,
        "main",
        Files::from([(".gitattributes".to_owned(), b"*.bin".to_vec())]),
    );
    Answer::body(json!({ "url": "http://hub/owner/name" }).to_string())
}

fn create_branch(repository: &mut Repository, branch: &str, asked: &Value) -> Answer {
    if repository.branches.contains_key(branch) {
        return refused(409, "Reference already exists");
    }
    let start = asked["startingPoint"].as_str().unwrap();
    let commit = repository
        .branches
        .get(start)
        .map_or(start, String::as_str)
        .to_owned();
    assert!(repository.commits.contains_key(&commit), "{commit}");
    repository.branches.insert(branch.to_owned(), commit);
    Answer::body("{}")
}

fn preupload(repository: &Repository, branch: &str, asked: &Value) -> Answer {
    let there = &repository.commits[&repository.branches[branch]];
    let files: Vec<Value> = asked["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let name = file["path"].as_str().unwrap();
            assert!(file["size"].is_u64());
            assert!(STANDARD.decode(file["sample"].as_str().unwrap()).unwrap().len() <= 512);
            let oid = there.get(name).map(|bytes| match is_large(name) {
                true => sha256(bytes),
                false => git_hash(bytes),
            });
            let mode = if is_large(name) { "lfs" } else { "regular" };
            json!({ "path": name, "uploadMode": mode, "shouldIgnore": false, "oid": oid })
        })
        .collect();
    Answer::body(json!({ "files": files, "commitOid": repository.branches[branch] }).to_string())
}

fn batch(repository: &Repository, store: &str, hub: &str, asked: &Value) -> Answer {
    assert_eq!(asked["operation"], "upload");
    assert_eq!(asked["transfers"], json!(["basic", "multipart"]));
    let objects: Vec<Value> = asked["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let oid = object["oid"].as_str().unwrap();
            let size = object["size"].as_u64().unwrap() as usize;
            let is_there = repository.objects.contains_key(oid)
                || repository
                    .commits
                    .values()
                    .flat_map(Files::values)
                    .any(|bytes| sha256(bytes) == oid);
            if is_there {
                return json!({ "oid": oid, "size": size });
            }
            let upload = match repository.part_size.filter(|part| size > *part) {
                None => json!({ "href": format!("{store}/put/{oid}?signature=secret") }),
                Some(part) => {
                    // As the Hub has it: numbers as names, the size as a text.
                    let mut header =
                        serde_json::Map::from_iter([("chunk_size".to_owned(), json!(part.to_string()))]);
                    for number in 1..=size.div_ceil(part) {
                        header.insert(
                            number.to_string(),
                            json!(format!("{store}/put/{oid}/{number}?signature=secret")),
                        );
                    }
                    json!({ "href": format!("{hub}/complete"), "header": header })
                }
            };
            let verify = json!({ "href": format!("{hub}/verify") });
            json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
        })
        .collect();
    Answer::body(json!({ "transfer": "basic", "objects": objects }).to_string())
}

fn complete(repository: &mut Repository, asked: &Value) -> Answer {
    let oid = asked["oid"].as_str().unwrap().to_owned();
    let mut whole = Vec::new();
    for (index, part) in asked["parts"].as_array().unwrap().iter().enumerate() {
        let number = index + 1;
        let Some(bytes) = repository.parts.get(&(oid.clone(), number)) else {
            return refused(400, "a part is missing");
        };
        assert_eq!(
            part,
            &json!({ "partNumber": number, "etag": format!("\"etag of {oid}/{number}\"") })
        );
        whole.extend(bytes);
    }
    repository.objects.insert(oid, whole);
    Answer::body("{}")
}

fn verify(repository: &Repository, asked: &Value) -> Answer {
    let oid = asked["oid"].as_str().unwrap();
    match repository.objects.get(oid) {
        Some(bytes) if sha256(bytes) == oid && asked["size"] == bytes.len() => Answer::body("{}"),
        _ => refused(400, "the object is not what it was announced as"),
    }
}

fn commit(repository: &mut Repository, branch: &str, lines: &[u8]) -> Answer {
    let head = repository.branches[branch].clone();
    let mut files = repository.commits[&head].clone();
    let mut message = String::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap();
        let value = &line["value"];
        let name = value["path"].as_str().unwrap_or_default().to_owned();
        match line["key"].as_str().unwrap() {
            "header" => {
                if value["parentCommit"] != head.as_str() {
                    return refused(412, "A commit has happened since. Please refresh and try again.");
                }
                message = value["summary"].as_str().unwrap().to_owned();
            }
            "file" => {
                assert!(!is_large(&name), "{name}");
                let bytes = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
                files.insert(name, bytes);
            }
            "lfsFile" => {
                let oid = value["oid"].as_str().unwrap();
                let found = repository.objects.get(oid).or_else(|| {
                    let mut there = repository.commits.values().flat_map(Files::values);
                    there.find(|bytes| sha256(bytes) == oid)
                });
                let Some(bytes) = found else {
                    return refused(400, "the LFS object is not there");
                };
                files.insert(name, bytes.clone());
            }
            "deletedFile" => {
                assert!(files.remove(&name).is_some(), "{name}");
            }
            other => panic!("{other}"),
        }
    }
    repository.messages.push((branch.to_owned(), message));
    let oid = add_commit(repository, branch, files);
    Answer::body(json!({ "success": true, "commitOid": oid, "commitUrl": "http://hub/commit" }).to_string())
}

/// A new commit, to which the branch moves.
pub(super) fn add_commit(repository: &mut Repository, branch: &str, files: Files) -> String {
    let commit = format!("{:040x}", 0xabc0 + repository.commits.len());
    repository.commits.insert(commit.clone(), files);
    repository.branches.insert(branch.to_owned(), commit.clone());
    commit
}
