//! How the C library gives memory back.
//!
//! A training step allocates and frees the same large blocks thousands of times. By default glibc maps each afresh and unmaps it at
//! once, so that the system clears every page again; here it keeps them.
#![allow(unsafe_code)]

/// Lets the allocator keep what a step frees, for the next step. Elsewhere than on glibc it does nothing.
pub(super) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        use std::sync::Once;

        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        /// Names as in `malloc.h`.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        /// The largest that glibc takes.
        const LARGEST: c_int = 32 << 20;

        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the function may be called at any time from any thread; values it does not take are refused and change
            // nothing. One arena, since memory that the backward pass frees is what the next forward pass wants.
            unsafe {
                mallopt(M_ARENA_MAX, 1);
                mallopt(M_MMAP_THRESHOLD, LARGEST);
                mallopt(M_TRIM_THRESHOLD, c_int::MAX);
            }
        });
    }
}
