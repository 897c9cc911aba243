//! Lets the binaries that use libtorch find it where it was linked from.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:rustc-env=CNSDIFF_LIBTORCH_LIB={lib}");
    // The CUDA library registers itself when it is loaded, and nothing refers to it by name.
    if Path::new(&lib).join("libtorch_cuda.so").exists() {
        println!("cargo:rustc-link-arg-bin=cnsdiff-pipe-worker=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
    // The user's binary uses nothing of libtorch, but the library's object files refer to it, and the initialisers in
    // its C++ glue would keep it loaded (a second at every start). Without the glue the linker drops all of it.
    println!("cargo:rustc-link-arg-bin=cnsdiff-pipe=-Wl,--remap-inputs=*libtorch_sys-*.rlib=/dev/null");
}
