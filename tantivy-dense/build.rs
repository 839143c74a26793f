//! Compiles the C++ side of the faiss binding. Does nothing without the feature `faiss`.

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "faiss")]
    compile_shim()?;
    Ok(())
}

/// The shim must be compiled against the headers of the faiss that is linked, and with the same instruction set: the
/// `cc` crate reads CXXFLAGS from the environment exactly as the build of faiss itself does.
#[cfg(feature = "faiss")]
fn compile_shim() -> Result<(), String> {
    use std::path::PathBuf;

    const SHIM: &str = "src/ann/shim.cpp";
    println!("cargo:rerun-if-changed={SHIM}");
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
    if !include.join("faiss").join("Index.h").is_file() {
        return Err(format!(
            "no faiss/Index.h under {}: set FAISS_INCLUDE_DIR to the folder that holds it",
            include.display()
        ));
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&include)
        .flag("-fopenmp")
        // Warnings in faiss's own headers are not ours.
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Wno-sign-compare")
        .flag_if_supported("-Wno-unknown-pragmas")
        .opt_level(3)
        .file(SHIM)
        .try_compile("tantivy_dense_faiss")
        .map_err(|error| format!("compiling {SHIM}: {error}"))
}
