//! faiss as its own C interface offers it, on one thread.
#![allow(unsafe_code, reason = "a C interface")]

use std::ffi::{CString, c_int};

use faiss_sys::{FaissIndex, FaissParameterSpace};

unsafe extern "C" {
    fn omp_set_num_threads(threads: c_int);
    #[cfg(target_os = "linux")]
    fn clock_gettime(clock: c_int, time: *mut Time) -> c_int;
}

#[cfg(target_os = "linux")]
#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// How long this thread has run on a processor; zero where the system is not asked for it.
pub fn thread_time() -> std::time::Duration {
    #[cfg(target_os = "linux")]
    {
        const THREAD: c_int = 3;
        let mut time = Time { seconds: 0, nanoseconds: 0 };
        // SAFETY: fills the two numbers, which is all a `timespec` is on 64-bit Linux.
        unsafe { clock_gettime(THREAD, &mut time) };
        std::time::Duration::new(time.seconds as u64, time.nanoseconds as u32)
    }
    #[cfg(not(target_os = "linux"))]
    std::time::Duration::ZERO
}

/// Threads of this and following calls of faiss in this thread.
pub fn threads(count: usize) {
    // SAFETY: sets a variable of the calling thread.
    unsafe { omp_set_num_threads(count as c_int) }
}

/// An index of faiss over inner products.
pub struct Raw {
    index: *mut FaissIndex,
    dimension: usize,
}

fn ok(code: c_int, what: &str) {
    assert_eq!(code, 0, "faiss failed to {what}");
}

impl Raw {
    /// Trains where needed and adds `rows`, with all threads.
    pub fn build(factory: &str, dimension: usize, rows: &[f32], settings: &[(&str, f64)]) -> Raw {
        let text = CString::new(factory).unwrap_or_default();
        let mut index = std::ptr::null_mut();
        let count = (rows.len() / dimension) as i64;
        // SAFETY: `index` is made by the first call and used after; `rows` has `count` rows of `dimension` values.
        unsafe {
            let metric = faiss_sys::FaissMetricType_METRIC_INNER_PRODUCT;
            ok(faiss_sys::faiss_index_factory(&mut index, dimension as c_int, text.as_ptr(), metric), "make an index");
            let raw = Raw { index, dimension };
            settings.iter().for_each(|(name, value)| raw.set(name, *value));
            if faiss_sys::faiss_Index_is_trained(index) == 0 {
                ok(faiss_sys::faiss_Index_train(index, count, rows.as_ptr()), "train");
            }
            ok(faiss_sys::faiss_Index_add(index, count, rows.as_ptr()), "add");
            raw
        }
    }

    /// Sets one of faiss's search or build parameters, such as `efSearch`.
    pub fn set(&self, name: &str, value: f64) {
        let text = CString::new(name).unwrap_or_default();
        let mut space: *mut FaissParameterSpace = std::ptr::null_mut();
        // SAFETY: the space is made, used and freed here; the index is alive, and no search runs.
        unsafe {
            ok(faiss_sys::faiss_ParameterSpace_new(&mut space), "make a parameter space");
            let code = faiss_sys::faiss_ParameterSpace_set_index_parameter(space, self.index, text.as_ptr(), value);
            ok(code, name);
            faiss_sys::faiss_ParameterSpace_free(space);
        }
    }

    /// The nearest rows of one query.
    pub fn search(&self, query: &[f32], k: usize) -> Vec<(i64, f32)> {
        assert_eq!(query.len(), self.dimension);
        let mut distances = vec![0.0; k];
        let mut labels = vec![-1; k];
        // SAFETY: the query has `dimension` values, the outputs `k` places each.
        let code = unsafe {
            let (distances, labels) = (distances.as_mut_ptr(), labels.as_mut_ptr());
            faiss_sys::faiss_Index_search(self.index, 1, query.as_ptr(), k as i64, distances, labels)
        };
        ok(code, "search");
        labels.into_iter().zip(distances).filter(|(label, _)| *label >= 0).collect()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: made by `build`, freed once.
        unsafe { faiss_sys::faiss_Index_free(self.index) }
    }
}
