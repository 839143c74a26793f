//! The libraries that ONNX Runtime's CUDA provider needs, found and loaded before it asks for them.
//!
//! It asks by bare name (`libcudnn.so.9`), which works where they lie in the system's folders. More often they come with
//! Python packages, each in a folder of its own; a library that is loaded already is not looked for again.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::ep::cuda::{CUDA_DYLIBS, CUDNN_DYLIBS};

use crate::provider::Provider;
use crate::runtime::python_folders;

/// Where NVIDIA's packages keep their libraries, below `site-packages`: all of CUDA 13 in one place, older ones each in its own.
const PACKAGES: [&str; 7] = [
    "nvidia/cu13/lib",
    "nvidia/cudnn/lib",
    "nvidia/cuda_runtime/lib",
    "nvidia/cublas/lib",
    "nvidia/cuda_nvrtc/lib",
    "nvidia/curand/lib",
    "nvidia/cufft/lib",
];

/// Loads what can be found, once for the process, where one of the providers is NVIDIA's. Gives the names of those that were
/// found nowhere; the system may know of them all the same.
pub(crate) fn preload(providers: &[Provider]) -> Vec<&'static str> {
    static MISSING: OnceLock<Vec<&'static str>> = OnceLock::new();
    if !wants_cuda(providers) {
        return Vec::new();
    }
    MISSING.get_or_init(|| load(&folders())).clone()
}

fn wants_cuda(providers: &[Provider]) -> bool {
    providers.iter().any(|provider| matches!(provider, Provider::Cuda(_) | Provider::TensorRt(_)))
}

/// In the order of the lists, in which each library comes after those it needs.
fn load(folders: &[PathBuf]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for name in CUDA_DYLIBS.iter().chain(CUDNN_DYLIBS).copied() {
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let loaded = match &found {
            Some(path) => ort::util::preload_dylib(path),
            None => ort::util::preload_dylib(name),
        };
        if let Err(error) = loaded {
            tracing::debug!(library = name, %error, "not loaded");
            missing.push(name);
        }
    }
    missing
}

/// The folders to look in: those of `LD_LIBRARY_PATH`, of Python packages, and where CUDA installs itself.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|paths| std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    for packages in python_folders() {
        folders.extend(PACKAGES.iter().map(|below| packages.join(below)));
    }
    folders.push(PathBuf::from("/usr/local/cuda/lib64"));
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Why providers, of which one may be NVIDIA's, cannot be registered, and what to do: from what ONNX Runtime says of it.
pub(crate) fn refusal(providers: &[Provider], missing: &[&str], said: &str) -> String {
    if !wants_cuda(providers) {
        return said.to_owned();
    }
    // The provider came as far as the device: no other library would help.
    if let Some(failure) = failure(said) {
        return format!("the device refuses: {failure}; nvidia-smi tells of devices and their driver");
    }
    if said.contains("libcuda.so.1: cannot open") {
        return "there is no libcuda.so.1, which comes with NVIDIA's driver, on this machine: choose the provider cpu, or install the driver".to_owned();
    }
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()).map(PathBuf::from);
    format!("{said}{}", remedy_for(named.as_deref(), missing))
}

/// What ONNX Runtime says of a session, in short where the device is what failed.
pub(crate) fn said(text: &str) -> String {
    failure(text).map_or_else(|| text.to_owned(), |failure| format!("the device refuses: {failure}"))
}

/// What CUDA or cuDNN says, of what ONNX Runtime makes of it: "... CUDA failure 35: <what> ; GPU=-1 ; hostname=...".
fn failure(said: &str) -> Option<&str> {
    let (_, tail) = said.rsplit_once(" failure ")?;
    let (number, what) = tail.split_once(": ")?;
    number.parse::<u32>().ok()?;
    what.split_once(" ; GPU=").map(|(what, _)| what.trim())
}

/// What to do where the provider cannot be loaded and `ORT_DYLIB_PATH` names this library or folder.
fn remedy_for(named: Option<&Path>, missing: &[&str]) -> String {
    let folder = named.and_then(|path| if path.is_dir() { Some(path) } else { path.parent() });
    let beside = folder.map(|folder| folder.join("libonnxruntime_providers_cuda.so"));
    let mut text = String::from(". The CUDA provider needs a build of ONNX Runtime for CUDA 13 that has it");
    match beside {
        Some(path) if !path.is_file() => text.push_str(&format!(
            ", and {} is not there: install the package onnxruntime-gpu and set ORT_DYLIB_PATH to the folder of its \
             libonnxruntime.so.* (onnxruntime/capi)",
            path.display()
        )),
        _ => text.push_str(
            " (the package onnxruntime-gpu; ORT_DYLIB_PATH names its libonnxruntime.so.*, or the folder of it)",
        ),
    }
    if !missing.is_empty() {
        text.push_str(&format!(
            "; these libraries of CUDA 13 were not found: {}. Install nvidia-cudnn-cu13 and the others, or add their folders \
             to LD_LIBRARY_PATH",
            missing.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert!(preload(&[Provider::Cpu]).is_empty(), "nothing is wanted for the CPU");
        assert_eq!(refusal(&[], &[], "it says so"), "it says so");
        let folder = tempfile::tempdir().unwrap();
        // A file of that name which is no library counts as missing, like one that is not there.
        std::fs::write(folder.path().join("libcudnn.so.9"), b"text").unwrap();
        let missing = load(&[folder.path().to_path_buf()]);
        assert!(missing.contains(&"libcudnn.so.9"), "{missing:?}");
        let text = refusal(&[Provider::Cuda(0)], &missing, "it says so");
        assert!(text.contains("onnxruntime-gpu") && text.contains("libcudnn.so.9"), "{text}");
        assert!(text.contains("CUDA 13") && text.contains("libonnxruntime.so.*"), "{text}");
    }

    #[test]
    fn what_the_device_refuses_is_said_without_the_sources_of_onnx_runtime() {
        let said = "/src/cuda_call.cc:154 CudaCall(ERRTYPE) [with THRW = true] CUDA failure 35: CUDA driver version is insufficient \
                    for CUDA runtime version ; GPU=-1 ; hostname=vm ; file=/src/info.cc ; line=70 ; expr=cudaGetDeviceCount(&count); \n";
        let text = refusal(&[Provider::Cuda(0)], &["libcudnn.so.9"], said);
        assert!(text.contains("CUDA driver version is insufficient for CUDA runtime version; nvidia-smi"), "{text}");
        assert!(!text.contains("hostname") && !text.contains("onnxruntime-gpu"), "{text}");
        let said = "Failed to load library with error: libcuda.so.1: cannot open shared object file: No such file or directory";
        assert!(refusal(&[Provider::Cuda(0)], &[], said).contains("NVIDIA's driver"));
        let begun =
            "Exception during initialization: CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; hostname=vm";
        assert_eq!(super::said(begun), "the device refuses: CUDNN_STATUS_NOT_INITIALIZED");
        assert_eq!(super::said("a failure of: the file"), "a failure of: the file");
    }

    #[test]
    fn the_provider_is_looked_for_beside_the_library_or_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so.1.24.1");
        let provider = folder.path().join("libonnxruntime_providers_cuda.so");
        for named in [file.as_path(), folder.path()] {
            let text = remedy_for(Some(named), &[]);
            assert!(text.contains(&format!("{} is not there", provider.display())), "{text}");
        }
        std::fs::write(&provider, b"").unwrap();
        for named in [file.as_path(), folder.path()] {
            let text = remedy_for(Some(named), &[]);
            assert!(!text.contains("is not there"), "{text}");
        }
    }
}
