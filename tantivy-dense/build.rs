//! Compiles the C++ side of the faiss binding. Does nothing without the feature `faiss`.

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "faiss")]
    shims::compile()?;
    Ok(())
}

#[cfg(feature = "faiss")]
mod shims {
    use std::path::{Path, PathBuf};

    /// The shims must be compiled against the headers of the faiss that is linked, and with the same instruction set: the
    /// `cc` crate reads CXXFLAGS from the environment exactly as the build of faiss itself does.
    pub(super) fn compile() -> Result<(), String> {
        println!("cargo:rerun-if-env-changed=FAISS_INCLUDE_DIR");
        let include = match (std::env::var_os("FAISS_INCLUDE_DIR"), std::env::var_os("DEP_FAISS_C_ROOT")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(root)) => PathBuf::from(root).join("include"),
            (None, None) => {
                return Err("no faiss headers: faiss-sys did not say where it put them (is its build replaced by a \
                     `links` override?); set FAISS_INCLUDE_DIR to the folder that holds faiss/Index.h"
                    .to_owned());
            }
        };
        has(&include, "faiss/Index.h", "FAISS_INCLUDE_DIR")?;
        #[cfg(feature = "gpu")]
        gpu(&include)?;
        for part in ["build", "check", "guard", "search", "streams"] {
            println!("cargo:rerun-if-changed=src/ann/shim/{part}.h");
        }
        shim(&[&include], "src/ann/shim/shim.cpp", "tantivy_dense_faiss")
    }

    /// The shim of the GPU needs CUDA's headers as well, and its search over rows, with code for the GPU, CUDA's compiler.
    #[cfg(feature = "gpu")]
    fn gpu(include: &Path) -> Result<(), String> {
        for variable in ["CUDA_PATH", "CUDAARCHS"] {
            println!("cargo:rerun-if-env-changed={variable}");
        }
        let cuda = std::env::var_os("CUDA_PATH").map(PathBuf::from).ok_or(
            "the feature `gpu` needs CUDA: set CUDA_PATH to the folder that holds include/cuda_runtime.h, or build with \
             scripts/cuda-build.sh",
        )?;
        has(include, "faiss/gpu/utils/BlockSelectKernel.cuh", "FAISS_INCLUDE_DIR")?;
        has(&cuda.join("include"), "cuda_runtime.h", "CUDA_PATH")?;
        println!("cargo:rerun-if-changed=src/ann/gpu/rows.h");
        // First, as the linker looks in libraries to the right only: the shim calls it.
        shim(&[include, &cuda.join("include")], "src/ann/gpu/shim.cpp", "tantivy_dense_faiss_gpu")?;
        let file = "src/ann/gpu/rows.cu";
        println!("cargo:rerun-if-changed={file}");
        let mut build = cc::Build::new();
        // The compiler is that of the environment's NVCC, or the nvcc in the path.
        build.cuda(true).cudart("none").std("c++17").include(include).opt_level(3).warnings(false);
        for flags in architectures(&std::env::var("CUDAARCHS").unwrap_or_default()) {
            build.flag(flags);
        }
        build.file(file).try_compile("tantivy_dense_rows_gpu").map_err(|error| format!("compiling {file}: {error}"))
    }

    /// For which GPUs, in nvcc's words: those that faiss itself is built for, in cmake's.
    #[cfg(feature = "gpu")]
    fn architectures(names: &str) -> Vec<String> {
        let one = |name: &str| match name.split_once('-') {
            _ if name.starts_with(|first: char| first.is_ascii_alphabetic()) => format!("-arch={name}"),
            Some((number, "real")) => format!("-gencode=arch=compute_{number},code=sm_{number}"),
            Some((number, _)) => format!("-gencode=arch=compute_{number},code=compute_{number}"),
            None => format!("-gencode=arch=compute_{name},code=[compute_{name},sm_{name}]"),
        };
        names.split(';').filter(|name| !name.is_empty()).map(one).collect()
    }

    fn has(folder: &Path, file: &str, variable: &str) -> Result<(), String> {
        if folder.join(file).is_file() {
            return Ok(());
        }
        Err(format!("no {file} under {}: set {variable} to where it lies", folder.display()))
    }

    fn shim(include: &[&Path], file: &str, name: &str) -> Result<(), String> {
        println!("cargo:rerun-if-changed={file}");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .includes(include)
            .flag("-fopenmp")
            // Warnings in faiss's own headers are not ours.
            .flag_if_supported("-Wno-unused-parameter")
            .flag_if_supported("-Wno-sign-compare")
            .flag_if_supported("-Wno-unknown-pragmas")
            .opt_level(3)
            .file(file)
            .try_compile(name)
            .map_err(|error| format!("compiling {file}: {error}"))
    }
}
