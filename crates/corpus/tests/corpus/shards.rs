use std::fs;

use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::{CacheOptions, LocalShards, Shards, open_rows};

fn names(shards: &LocalShards, root: &str) -> Vec<String> {
    let below = |name: &String| {
        name.strip_prefix(root)
            .unwrap()
            .trim_start_matches('/')
            .to_owned()
    };
    shards
        .shards()
        .iter()
        .map(|shard| shard.name.clone())
        .collect::<Vec<_>>()
        .iter()
        .map(below)
        .collect()
}

#[test]
fn folders_globs_and_files_are_listed_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for name in [
        "b/2.jsonl",
        "b/10.parquet",
        "a.jsonl.gz",
        "b/deep/3.jsonl",
        "b/notes.txt",
        ".hidden/4.jsonl",
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let find = |patterns: &[&str]| {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|pattern| format!("{root}/{pattern}"))
            .collect();
        LocalShards::find("web", &patterns)
            .map(|shards| names(&shards, root))
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        find(&[""]).unwrap(),
        ["a.jsonl.gz", "b/10.parquet", "b/2.jsonl", "b/deep/3.jsonl"]
    );
    assert_eq!(find(&["b/*"]).unwrap(), ["b/10.parquet", "b/2.jsonl"]);
    assert_eq!(find(&["**/*.jsonl"]).unwrap(), ["b/2.jsonl", "b/deep/3.jsonl"]);
    assert_eq!(
        find(&["b/{2,3}.*", "a.jsonl.gz", "b/2.jsonl"]).unwrap(),
        ["a.jsonl.gz", "b/2.jsonl"]
    );

    assert!(
        find(&["none.jsonl"])
            .unwrap_err()
            .contains("none.jsonl` does not exist")
    );
    assert!(
        find(&["c/*.jsonl"])
            .unwrap_err()
            .contains("holds no file it can read")
    );
    assert!(find(&["b/[x"]).unwrap_err().contains("is not a pattern"));
    // What the library datasets writes about the data; it counts where it is named.
    fs::create_dir_all(folder.path().join("hub/data")).unwrap();
    for name in ["README.md", "dataset_infos.json", "data/train.jsonl"] {
        fs::write(folder.path().join("hub").join(name), "{}").unwrap();
    }
    assert_eq!(find(&["hub"]).unwrap(), ["hub/data/train.jsonl"]);
    assert!(find(&["hub/*.json"]).unwrap_err().contains("holds no file"));
    assert_eq!(
        find(&["hub/dataset_infos.json"]).unwrap(),
        ["hub/dataset_infos.json"]
    );
    fs::create_dir(folder.path().join("saved")).unwrap();
    for name in ["dataset_info.json", "state.json", "data-00000-of-00001.arrow"] {
        fs::write(folder.path().join("saved").join(name), "{}").unwrap();
    }
    let error = find(&["saved"]).unwrap_err();
    assert!(
        error.contains("Arrow") && error.contains(".to_parquet("),
        "{error}"
    );
    fs::create_dir(folder.path().join("empty")).unwrap();
    let error = find(&["empty"]).unwrap_err();
    assert!(
        error.contains("source `web`") && error.contains(".parquet, .jsonl"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_a_circle() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    for part in [&own, &other] {
        fs::create_dir(part).unwrap();
        fs::write(part.join("a.jsonl"), "1").unwrap();
    }
    symlink(&other, own.join("linked")).unwrap();
    symlink(&own, own.join("again")).unwrap();
    symlink(&own, other.join("back")).unwrap();
    symlink(folder.path(), own.join("above")).unwrap();
    let root = own.to_str().unwrap();
    let found = LocalShards::find("web", &[root]).unwrap();
    assert_eq!(names(&found, root), ["a.jsonl", "linked/a.jsonl"]);
}

#[test]
fn a_changed_file_has_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let pattern = [path.to_str().unwrap()];
    fs::write(&path, "1").unwrap();
    let one = LocalShards::find("web", &pattern).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&path, "2").unwrap();
    let two = LocalShards::find("web", &pattern).unwrap();
    assert_eq!(one.shards()[0].bytes, two.shards()[0].bytes);
    assert_ne!(one.shards()[0].version, two.shards()[0].version);
    assert_eq!(two.open(0).unwrap().path(), path);
    assert!(two.open(1).is_err());
}

#[test]
fn local_and_remote_do_not_mix_in_one_source() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), "1").unwrap();
    let local = folder.path().to_str().unwrap();
    let cache = CacheOptions {
        folder: folder.path().join("cache"),
        bytes: 1,
        retry: RetryPolicy::default(),
    };
    let opened = open_rows("web", &[local], &cache).unwrap();
    assert_eq!((opened.name(), opened.shards().len()), ("web", 1));
    let error = open_rows("web", &[local, "s3://bucket/key.jsonl"], &cache)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("give each its own source"), "{error}");
}
