use super::{client, noise};
use crate::server::{Answer, Request, Server};

/// A hub with one dataset of two pages of files.
fn hub() -> Server {
    Server::start(|request: &Request, _| {
        let path = request.path.as_str();
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer hf_token") {
            return Answer::status(401);
        }
        match path {
            "/api/datasets/owner/name/revision/refs%2Fconvert%2Fparquet" => {
                Answer::body(r#"{"sha": "c0ffee"}"#)
            }
            "/api/datasets/owner/name/tree/c0ffee/data?recursive=true" => Answer::body(
                r#"[{"type": "directory", "path": "data/en", "oid": "1"},
                    {"type": "file", "path": "data/en/0 a.parquet", "size": 5000, "oid": "2", "lfs": {}}]"#,
            )
            .header(
                "Link",
                "</api/datasets/owner/name/tree/c0ffee/data?recursive=true&cursor=x>; rel=\"next\"",
            ),
            "/api/datasets/owner/name/tree/c0ffee/data?recursive=true&cursor=x" => Answer::body(
                r#"[{"type": "file", "path": "data/en/1.parquet", "size": 7, "oid": "3"},
                    {"type": "file", "path": "data/README.md", "size": 9, "oid": "4"}]"#,
            ),
            "/datasets/owner/name/resolve/c0ffee/data/en/0%20a.parquet" => Answer {
                status: 302,
                ..Answer::body("")
            }
            .header("Location", "/cdn/blob"),
            "/cdn/blob" => Answer::ranged(&noise(5_000), request),
            _ => Answer::status(404),
        }
    })
}

#[test]
fn a_dataset_is_listed_and_read_at_a_fixed_commit() {
    let server = hub();
    let client = client(&[("HF_ENDPOINT", &server.address), ("HF_TOKEN", "hf_token\n")]);
    let list = |path: &str| {
        let address = format!("hf://datasets/owner/name@refs%2Fconvert%2Fparquet/{path}");
        client
            .list("web", &[address], &|name| name.ends_with(".parquet"))
            .map_err(|error| error.to_string())
    };
    let files = list("data").unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|file| (file.shard.name.as_str(), file.relative.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            (
                "hf://datasets/owner/name@c0ffee/data/en/0 a.parquet",
                "en/0 a.parquet"
            ),
            (
                "hf://datasets/owner/name@c0ffee/data/en/1.parquet",
                "en/1.parquet"
            ),
        ]
    );
    assert_eq!(
        (files[0].shard.bytes, files[0].shard.version.as_str()),
        (5_000, "oid 2")
    );
    assert_eq!(list("data/**/1*.parquet").unwrap().len(), 1);
    assert_eq!(
        list("data/README.md").unwrap()[0].relative,
        "README.md",
        "a file named outright is taken"
    );
    assert!(
        list("data/*.parquet")
            .unwrap_err()
            .contains("holds no file it can read")
    );

    let folder = tempfile::tempdir().unwrap();
    client
        .download("web", &files[0], &folder.path().join("0.parquet"), &|_| {})
        .unwrap();
    assert!(std::fs::read(folder.path().join("0.parquet")).unwrap() == noise(5_000));
}

#[test]
fn without_the_token_the_error_says_what_to_set() {
    let server = hub();
    let client = client(&[("HF_ENDPOINT", &server.address)]);
    let error = client
        .list("web", &["hf://datasets/owner/name/data"], &|_| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("401") && error.contains("HF_TOKEN"), "{error}");
}

/// The token goes to the Hub alone: not to the host of a next page, nor to where a file is redirected.
#[test]
fn the_token_goes_to_no_other_host() {
    let elsewhere = Server::start(|request, _| match request.path.as_str() {
        "/page-2" => Answer::body(r#"[{"type": "file", "path": "1.parquet", "size": 7, "oid": "3"}]"#),
        "/blob" => Answer::ranged(&noise(5_000), request),
        _ => Answer::status(404),
    });
    let address = elsewhere.address.clone();
    let hub = Server::start(move |request, _| match request.path.as_str() {
        "/api/datasets/o/n/revision/main" => Answer::body(r#"{"sha": "c0ffee"}"#),
        "/api/datasets/o/n/tree/c0ffee?recursive=true" => {
            Answer::body(r#"[{"type": "file", "path": "0.parquet", "size": 5000, "oid": "2"}]"#)
                .header("Link", format!("<{address}/page-2>; rel=\"next\""))
        }
        "/datasets/o/n/resolve/c0ffee/0.parquet" => Answer {
            status: 302,
            ..Answer::body("")
        }
        .header("Location", format!("{address}/blob")),
        _ => Answer::status(404),
    });
    let client = client(&[("HF_ENDPOINT", &hub.address), ("HF_TOKEN", "hf_token")]);
    let files = client.list("web", &["hf://datasets/o/n"], &|_| true).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.relative.as_str()).collect();
    assert_eq!(names, ["0.parquet", "1.parquet"]);
    assert!(!format!("{files:?}").contains("hf_token"));
    let folder = tempfile::tempdir().unwrap();
    client
        .download("web", &files[0], &folder.path().join("0.parquet"), &|_| {})
        .unwrap();

    let of_hub = hub.requests();
    assert_eq!(of_hub.len(), 3);
    for request in of_hub {
        assert_eq!(request.headers["authorization"], "Bearer hf_token");
    }
    let of_others = elsewhere.requests();
    assert_eq!(of_others.len(), 2);
    for Request { headers, .. } in of_others {
        assert!(
            !headers.contains_key("authorization") && !headers.contains_key("referer"),
            "{headers:?}"
        );
    }
}
