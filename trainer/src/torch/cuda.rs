//! Loads libtorch's CUDA part at run time.
//!
//! The binary links the CPU part alone, so that one binary serves machines with and without a GPU. libtorch registers its
//! CUDA kernels when `libtorch_cuda.so` is loaded, whoever loads it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlerror() -> *mut c_char;
}

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;

/// Loads it from the folder of libtorch (`LIBTORCH`), beside the program, or where the system finds it.
pub(super) fn load() -> Result<(), String> {
    static OUTCOME: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    OUTCOME.get_or_init(try_load).clone()
}

fn try_load() -> Result<(), String> {
    const NAME: &str = "libtorch_cuda.so";
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(folder) = std::env::var_os("LIBTORCH") {
        places.push(PathBuf::from(folder).join("lib").join(NAME));
    }
    if let Ok(program) = std::env::current_exe()
        && let Some(folder) = program.parent()
    {
        places.push(folder.join(NAME));
    }
    places.retain(|place| place.is_file());
    places.push(PathBuf::from(NAME));
    let mut last = String::new();
    for place in places {
        let Ok(name) = CString::new(place.as_os_str().as_encoded_bytes()) else {
            continue;
        };
        // SAFETY: the name ends with a zero byte and lives until the call returns; the library's initialisers are libtorch's
        // own, of the same release as the part that is linked.
        let handle = unsafe { dlopen(name.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
        if !handle.is_null() {
            return Ok(());
        }
        // SAFETY: after a failed dlopen on this thread dlerror gives null or a string that lives until the next dl call.
        let text = unsafe { dlerror() };
        last = if text.is_null() {
            "it cannot be loaded".to_owned()
        } else {
            // SAFETY: not null, and a string as above.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
    }
    Err(format!(
        "libtorch's CUDA library cannot be loaded ({last}); set LIBTORCH to a libtorch with CUDA of the same release"
    ))
}
