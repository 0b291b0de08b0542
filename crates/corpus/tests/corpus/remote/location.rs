use smollm3_corpus::remote::{BucketStore, HubKind, Location};

fn hub(kind: HubKind, repo: &str, revision: &str, path: &str) -> Location {
    Location::Hub {
        kind,
        repo: repo.into(),
        revision: revision.into(),
        path: path.into(),
    }
}

#[test]
fn addresses_are_taken_apart() {
    let bucket = |store, bucket: &str, key: &str| Location::Bucket {
        store,
        bucket: bucket.into(),
        key: key.into(),
    };
    for (address, expected) in [
        ("data/*.jsonl", Location::Local("data/*.jsonl".into())),
        ("file:///data/a.jsonl", Location::Local("/data/a.jsonl".into())),
        ("s3://b/a/*.parquet", bucket(BucketStore::S3, "b", "a/*.parquet")),
        ("gs://b", bucket(BucketStore::Gcs, "b", "")),
        ("hf://datasets/o/n", hub(HubKind::Dataset, "o/n", "main", "")),
        (
            "hf://datasets/o/n@v1/data/*.parquet",
            hub(HubKind::Dataset, "o/n", "v1", "data/*.parquet"),
        ),
        (
            "hf://datasets/o/n@refs%2Fconvert%2Fparquet",
            hub(HubKind::Dataset, "o/n", "refs/convert/parquet", ""),
        ),
        (
            "hf://o/n/config.json",
            hub(HubKind::Model, "o/n", "main", "config.json"),
        ),
        ("hf://models/o/n", hub(HubKind::Model, "o/n", "main", "")),
    ] {
        assert_eq!(Location::parse("web", address).unwrap(), expected, "{address}");
    }
    let Location::Http(url) = Location::parse("web", "https://h.org/a.jsonl?k=1").unwrap() else {
        panic!()
    };
    assert_eq!(url.as_str(), "https://h.org/a.jsonl?k=1");
}

#[test]
fn addresses_that_fit_no_scheme_say_how_to_write_them() {
    for (address, expected) in [
        ("s3://", "write s3://bucket/key"),
        (
            "hf://datasets/owner",
            "write hf://datasets/owner/name@revision/path",
        ),
        (
            "hf://datasets/owner/name@/x",
            "write hf://datasets/owner/name@revision/path",
        ),
        ("hf://spaces/o/n", "spaces hold no data"),
        ("http://", "not a URL"),
        (
            "ftp://h/a.jsonl",
            "known are paths, s3://, gs://, http(s):// and hf://",
        ),
    ] {
        let error = Location::parse("web", address).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("source `web`"),
            "{address}: {error}"
        );
    }
}
