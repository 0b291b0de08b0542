//! What NCCL's start says where it cannot, and where it finds the library: no machine has a device of number 99, and
//! libraries of a few lines stand for CUDA's driver and for NCCL.
#![cfg(feature = "nccl")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use smollm3_collective::nccl::Nccl;
use smollm3_collective::{Collective, Single, Threads};

#[test]
fn all_ranks_say_which_one_cannot_and_why() {
    let errors = Threads::run(2, Duration::from_secs(60), |ranks| {
        let ranks: Arc<dyn Collective> = Arc::new(ranks);
        let error = Nccl::start(&ranks, 99).err().unwrap().to_string();
        ranks.finish().unwrap();
        error
    });
    let why = ["there is no CUDA driver", "there is no NCCL", "device 99: "];
    for error in &errors {
        let rest = error
            .strip_prefix("NCCL cannot start: rank 0 (thread 0): ")
            .unwrap();
        assert!(why.iter().any(|text| rest.starts_with(text)), "{error}");
    }
    assert_eq!(errors[0], errors[1]);
}

/// A driver that is there and has no device.
const CUDA: &str = r#"
int cuInit(unsigned flags) { return 100; }
int cuGetErrorString(int error, const char **text) { *text = "no device here"; return 0; }
"#;

/// The functions that are asked for.
const NCCL: &str = "
int ncclGetUniqueId() { return 2; }
int ncclCommInitRank() { return 2; }
int ncclCommAbort() { return 0; }
int ncclReduceScatter() { return 2; }
int ncclAllGather() { return 2; }
const char *ncclGetErrorString(int error) { return \"a stand-in\"; }
";

/// Compiles a library to `path`, whose folder is made.
fn library(path: &Path, source: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = path.with_extension("c");
    fs::write(&file, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([path, &file])
        .status()
        .unwrap();
    assert!(compiled.success());
}

/// Where this test's own process, with a driver, finds NCCL: what its start says with these variables and no others.
fn said(folder: &Path, variables: &[(&str, PathBuf)]) -> String {
    let driver = folder.join("driver");
    library(&driver.join("libcuda.so.1"), CUDA);
    let mut paths = vec![driver];
    let (search, others): (Vec<_>, Vec<_>) =
        variables.iter().partition(|(name, _)| *name == "LD_LIBRARY_PATH");
    paths.extend(search.into_iter().map(|(_, path)| path.clone()));
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "starts", "--ignored", "--nocapture"])
        .env_remove("LIBTORCH")
        .env_remove("VIRTUAL_ENV")
        .env_remove("CONDA_PREFIX")
        .env("LD_LIBRARY_PATH", env::join_paths(paths).unwrap())
        .envs(others.into_iter().map(|(name, path)| (*name, path)))
        .output()
        .unwrap();
    String::from_utf8_lossy(&child.stdout).into_owned()
}

#[test]
#[ignore = "run by others in a process of its own, as the loader reads its variables once"]
fn starts() {
    let ranks: Arc<dyn Collective> = Arc::new(Single::default());
    println!("{}", Nccl::start(&ranks, 99).err().unwrap());
}

/// PyTorch's wheels and Debian install no other name than `libnccl.so.2`.
#[test]
fn nccl_is_found_by_the_name_that_it_is_installed_under() {
    for name in ["libnccl.so.2", "libnccl.so"] {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        library(&lib.join(name), NCCL);
        let said = said(folder.path(), &[("LD_LIBRARY_PATH", lib)]);
        assert!(
            said.contains("device 99: ") && said.contains("no device here"),
            "{name}: {said}"
        );
    }
}

#[test]
fn nccl_is_found_in_the_packages_of_python_and_beside_libtorch() {
    for (variable, place) in [
        ("VIRTUAL_ENV", "lib/python3.12/site-packages/nvidia/nccl/lib"),
        ("CONDA_PREFIX", "lib"),
        ("LIBTORCH", "lib"),
        ("LIBTORCH", "../nvidia/nccl/lib"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("torch");
        fs::create_dir_all(prefix.join("lib")).unwrap();
        library(&prefix.join(place).join("libnccl.so.2"), NCCL);
        let said = said(folder.path(), &[(variable, prefix)]);
        assert!(said.contains("device 99: "), "{variable} {place}: {said}");
    }
}

#[test]
fn where_nccl_was_looked_for_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let lib = folder.path().join("lib");
    fs::create_dir_all(&lib).unwrap();
    let variables = [
        ("LD_LIBRARY_PATH", lib.clone()),
        ("LIBTORCH", folder.path().to_owned()),
    ];
    let said_without = said(folder.path(), &variables);
    if !said_without.contains("there is no NCCL") {
        println!("this machine has NCCL in a system's folder: {said_without}");
        return;
    }
    for expected in [
        "libnccl.so.2 and libnccl.so in LD_LIBRARY_PATH (",
        lib.to_str().unwrap(),
        "nvidia/nccl/lib",
        "libnccl.so.2: cannot open shared object file",
    ] {
        assert!(said_without.contains(expected), "{expected} in {said_without}");
    }
    // One that is no library, and one that is not NCCL.
    fs::write(lib.join("libnccl.so.2"), "text").unwrap();
    let said_of_text = said(folder.path(), &variables);
    assert!(
        said_of_text.contains("libnccl.so.2: file too short"),
        "{said_of_text}"
    );
    library(&lib.join("libnccl.so.2"), "int other() { return 0; }");
    let said_of_other = said(folder.path(), &variables);
    assert!(
        said_of_other.contains("undefined symbol: ncclGetUniqueId"),
        "{said_of_other}"
    );
}
