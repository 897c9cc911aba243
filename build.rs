//! Lets the binaries that use libtorch find it where it was linked from.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // The CUDA library registers itself when it is loaded, and nothing refers to it by name.
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg-bin=cnsdiff-pipe-worker=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}
