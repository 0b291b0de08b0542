use super::{client, noise};
use crate::server::{Answer, Request, Server};

/// Enough of S3 to list a bucket and read an object.
fn s3() -> Server {
    Server::start(|request: &Request, before| {
        let object = |key: &str, bytes: usize| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2025-06-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;v1&quot;</ETag><Size>{bytes}</Size></Contents>"
            )
        };
        if before == 0 {
            return Answer::status(503);
        }
        if request.path.contains("list-type=2") {
            let keys = [
                ("web/a.jsonl", 4_000),
                ("web/deep/b.jsonl", 10),
                ("web/notes.txt", 3),
            ];
            let body: String = keys.iter().map(|(key, bytes)| object(key, *bytes)).collect();
            return Answer::body(format!(
                "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><KeyCount>3</KeyCount>\
                 <IsTruncated>false</IsTruncated>{body}</ListBucketResult>"
            ));
        }
        assert!(
            request.headers["authorization"].contains("Credential=key/"),
            "{:?}",
            request.headers
        );
        match request.path.as_str() {
            "/b/web/a.jsonl" => {
                let answer = Answer::ranged(&noise(4_000), request)
                    .header("Last-Modified", "Sun, 01 Jun 2025 00:00:00 GMT");
                if request.from() == 0 {
                    answer.cut_after(1_500)
                } else {
                    answer
                }
            }
            _ => Answer::status(404),
        }
    })
}

#[test]
fn buckets_are_listed_and_read_with_the_usual_variables() {
    let server = s3();
    let client = client(&[
        ("AWS_ENDPOINT_URL", &server.address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]);
    let list = |key: &str| {
        client
            .list("web", &[format!("s3://b/{key}")], &|name| {
                name.ends_with(".jsonl")
            })
            .unwrap()
    };
    let files = list("web");
    let names: Vec<_> = files
        .iter()
        .map(|file| (file.shard.name.as_str(), file.relative.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("s3://b/web/a.jsonl", "a.jsonl"),
            ("s3://b/web/deep/b.jsonl", "deep/b.jsonl")
        ]
    );
    assert_eq!(list("web/*.jsonl").len(), 1);
    assert_eq!(
        (files[0].shard.bytes, files[0].shard.version.as_str()),
        (4_000, "etag \"v1\"")
    );

    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.jsonl");
    client.download("web", &files[0], &target, &|_| {}).unwrap();
    assert!(std::fs::read(&target).unwrap() == noise(4_000));
}

#[test]
fn a_missing_object_is_named() {
    let server = s3();
    let client = client(&[
        ("AWS_ENDPOINT_URL", &server.address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]);
    let files = client.list("web", &["s3://b/web/deep"], &|_| true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let absent = files
        .iter()
        .find(|file| file.relative.ends_with("b.jsonl"))
        .unwrap();
    let error = client
        .download("web", absent, &folder.path().join("b"), &|_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("source `web`: cannot read `s3://b/web/deep/b.jsonl`"),
        "{error}"
    );
}

#[test]
fn a_signature_does_not_follow_a_redirect() {
    let elsewhere = Server::start(|request, _| Answer::ranged(&noise(10), request));
    let address = elsewhere.address.clone();
    let store = Server::start(move |_, _| {
        Answer {
            status: 307,
            ..Answer::body("")
        }
        .header("Location", format!("{address}/b/web/a.jsonl"))
    });
    let client = client(&[
        ("AWS_ENDPOINT_URL", &store.address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]);
    let _ = client.list("web", &["s3://b/web/a.jsonl"], &|_| true);
    assert!(!store.requests().is_empty());
    for request in elsewhere.requests() {
        assert!(
            !request.headers.contains_key("authorization"),
            "{:?}",
            request.headers
        );
    }
}
