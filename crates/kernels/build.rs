//! Compiles what LibTorch has and `tch` does not bind (`src/tch/shim.cpp`), with the feature `tch` only.

fn main() {
    println!("cargo:rerun-if-changed=src/tch/shim.cpp");
    #[cfg(feature = "tch")]
    shim();
}

#[cfg(feature = "tch")]
fn shim() {
    // Set by torch-sys's build script; the headers are in a sibling folder.
    let libraries = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where LibTorch is");
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .std("c++17")
        .include(std::path::Path::new(&libraries).with_file_name("include"))
        .file("src/tch/shim.cpp")
        .compile("smollm3_shim");
}
