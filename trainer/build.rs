//! Compiles the part of libtorch's interface that the bindings leave out, and makes the binary and the tests find libtorch where
//! they were linked with it.

use std::path::{Path, PathBuf};

const SHIM: &str = "src/torch/shim.cpp";

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed={SHIM}");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    if let Ok(folder) = std::env::var("LIBTORCH")
        && let Ok(library) = Path::new(&folder).join("lib").canonicalize()
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library.display());
    }
    // Where release archives have it.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
    // torch-sys says which libtorch it was built with; its headers lie beside its libraries, in the Python package too.
    let include = match (std::env::var_os("LIBTORCH_INCLUDE"), std::env::var_os("DEP_TCH_LIBTORCH_LIB")) {
        (Some(folder), _) => PathBuf::from(folder).join("include"),
        (None, Some(library)) => PathBuf::from(library).join("../include"),
        (None, None) => return Err("torch-sys did not say where libtorch is; set LIBTORCH_INCLUDE".to_owned()),
    };
    // Named before the libraries of other crates, so that libtorch's own sgemm is found before that of a BLAS which faiss wants where
    // tantivy-dense is built with it: with OpenBLAS beside libtorch's threads, f32 took seven times as long and more.
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    if !include.join("ATen/core/Tensor.h").is_file() {
        return Err(format!(
            "no ATen/core/Tensor.h under {}: set LIBTORCH_INCLUDE to the folder that holds libtorch's `include`",
            include.display()
        ));
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("GLOG_USE_GLOG_EXPORT", None)
        // Warnings in libtorch's own headers are not ours.
        .warnings(false)
        .opt_level(2)
        .file(SHIM)
        .try_compile("adam_torch")
        .map_err(|error| format!("compiling {SHIM}: {error}"))
}
