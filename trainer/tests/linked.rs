//! What the program is linked with.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

/// A BLAS that faiss wants stands behind libtorch in the order of search: libtorch calls its own sgemm by name, and would get
/// whichever comes first. With OpenBLAS's, training in f32 took seven times as long and more.
#[cfg(target_os = "linux")]
#[test]
fn libtorch_multiplies_matrices_itself() {
    let read = Command::new("readelf")
        .args(["-d", env!("CARGO_BIN_EXE_adam-train")])
        .output()
        .expect("binutils, as gcc needs them");
    let text = String::from_utf8(read.stdout).unwrap();
    let needed: Vec<&str> = text.lines().filter(|line| line.contains("(NEEDED)")).collect();
    let place = |name: &str| needed.iter().position(|line| line.contains(name));
    let torch = place("libtorch_cpu").expect("the program uses libtorch");
    for blas in ["libblas", "libopenblas", "libmkl"] {
        assert!(place(blas).is_none_or(|place| torch < place), "{text}");
    }
}
