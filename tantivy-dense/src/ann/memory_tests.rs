//! What Valgrind sees of the calls into faiss: no memory lost or misused, and no two threads at the same value. The test runs
//! itself again below Valgrind, once for each tool, and also does something wrong on purpose, which the tool has to notice.
#![cfg(all(feature = "faiss", target_os = "linux"))]

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tantivy::directory::OwnedBytes;

use super::tests::{bits, clustered};
use super::*;

/// What the process below Valgrind is to do.
const TASK: &str = "ADAM_VALGRIND_TASK";
/// The exit code of a process in which Valgrind found something.
const FOUND: i32 = 97;
const HERE: &str = concat!(module_path!(), "::valgrind_finds_nothing_lost_misused_or_raced_for");
const DIMENSION: usize = 8;

fn build(factory: &str, values: &[f32], cancel: &AtomicBool) -> Result<AnnIndex, crate::DenseError> {
    let build = AnnBuild { threads: 1, ..AnnBuild::new(factory, Similarity::InnerProduct, DIMENSION) };
    AnnIndex::build(&build, &RowSlice::new(values, DIMENSION).unwrap(), cancel)
}

/// Every call into faiss: building, failing, cancelling, writing, opening over bytes and over rows, searching in every way from
/// several threads.
fn exercise(factories: &[&str]) {
    let rows = 300;
    let values = clustered(rows, DIMENSION, 21);
    let filter = bits(rows, |row| row % 3 > 0);
    let go = AtomicBool::new(false);
    assert!(build("HNSW4", &values, &AtomicBool::new(true)).is_err(), "cancelled");
    assert!(AnnIndex::check(&AnnBuild::new("NONSENSE7", Similarity::SquaredL2, DIMENSION)).is_err());
    for factory in factories {
        let built = build(factory, &values, &go).unwrap();
        let spec = AnnBuild::new(*factory, Similarity::InnerProduct, DIMENSION).spec(rows);
        let mut opened = Vec::new();
        for without_rows in [false, true] {
            if without_rows && !built.can_leave_out_rows() {
                continue;
            }
            let (bytes, checksum) = built.to_bytes(without_rows).unwrap();
            assert!(AnnIndex::open(OwnedBytes::new(bytes[..40].to_vec()), checksum, &spec, None).is_err());
            let kept = without_rows.then(|| OwnedBytes::new(bytemuck::cast_slice(&values).to_vec()));
            opened.push(AnnIndex::open(OwnedBytes::new(bytes), checksum, &spec, kept).unwrap());
        }
        drop(built);
        for index in &opened {
            let search = |i: usize| {
                let query = &values[i * DIMENSION..(i + 1) * DIMENSION];
                let breadth = AnnSearch { ef: Some(8 + i % 8), nprobe: Some(1 + i % 4), k_factor: Some(2.0) };
                let filter = (i % 2 == 1).then_some(filter.as_slice());
                index.search(query, 5, &breadth, filter).unwrap().len() + index.memory_bytes() % 2
            };
            // Once alone, so that what is chosen once per process is chosen.
            assert!(search(0) > 0);
            std::thread::scope(|scope| {
                let start = |thread: usize| {
                    scope.spawn(move || (0..12).map(|i| search((i * 7 + thread) % rows)).sum::<usize>())
                };
                // Joined one by one, which Helgrind sees; it does not see how the scope itself waits.
                (0..3)
                    .map(start)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|thread| assert!(thread.join().unwrap() > 0));
            });
        }
    }
}

/// Loses an index, whose memory nobody can free any more.
fn lose() {
    let values = clustered(50, DIMENSION, 22);
    std::mem::forget(build("HNSW4", &values, &AtomicBool::new(false)).unwrap());
}

/// Two threads write to one place without a lock. (No undefined behaviour in Rust's eyes, and a race in Valgrind's.)
fn race() {
    static PLACE: AtomicU64 = AtomicU64::new(0);
    #[inline(never)]
    fn write(value: u64) {
        PLACE.store(value, Ordering::Relaxed);
    }
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || (0..100).for_each(|i| write(i * thread)));
        }
    });
    assert!(PLACE.load(Ordering::Relaxed) < 200);
}

/// The exit code of this test below Valgrind, and what Valgrind said.
fn below_valgrind(tool: &[&str], task: &str) -> (Option<i32>, String) {
    let output = Command::new("valgrind")
        .arg("--quiet")
        .args(tool)
        .arg(std::env::current_exe().unwrap())
        // The path of a test has no crate in front.
        .args([HERE.split_once("::").unwrap().1, "--exact", "--test-threads=1"])
        .env(TASK, task)
        // Searches of one query run on the caller's thread, and the threads that OpenMP keeps synchronise in ways that no tool
        // of Valgrind's knows.
        .env("OMP_NUM_THREADS", "1")
        .env("OPENBLAS_NUM_THREADS", "1")
        .output()
        .unwrap();
    (
        output.status.code(),
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

#[test]
fn valgrind_finds_nothing_lost_misused_or_raced_for() {
    match std::env::var(TASK).as_deref() {
        Ok("memory") => return exercise(&["Flat", "HNSW4", "HNSW4_SQ8", "IVF4,Flat", "IVF4,PQ4x4fs,RFlat"]),
        Ok("threads") => return exercise(&["HNSW4", "IVF4,Flat", "IVF4,PQ4x4fs,RFlat"]),
        Ok("lose") => return lose(),
        Ok("race") => return race(),
        _ => {}
    }
    if !Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: valgrind is not installed (scripts/setup.sh)");
        return;
    }
    let fault = format!("--error-exitcode={FOUND}");
    let memory = ["--tool=memcheck", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect", &fault];
    let (code, said) = below_valgrind(&memory, "memory");
    assert!(code == Some(0) && said.contains("1 passed"), "{said}");
    let (code, said) = below_valgrind(&memory, "lose");
    assert_eq!(code, Some(FOUND), "an index lost on purpose was not noticed:\n{said}");

    let (code, said) = below_valgrind(&["--tool=helgrind"], "threads");
    assert!(code == Some(0) && said.contains("1 passed"), "{said}");
    assert_eq!(races(&said, &["faiss", "adf_"]), Vec::<&str>::new());
    let (_, said) = below_valgrind(&["--tool=helgrind"], "race");
    assert_ne!(races(&said, &["race::write"]), Vec::<&str>::new(), "a race made on purpose was not noticed:\n{said}");
}

/// The races that Helgrind reports and in whose stacks one of these names stands. Others are left out: Rust's threads (in the
/// standard library, and in what runs the tests) synchronise in ways that Helgrind does not see.
fn races<'a>(said: &'a str, names: &[&str]) -> Vec<&'a str> {
    said.split("----------------------------------------------------------------")
        .filter(|report| report.contains("data race") && names.iter().any(|name| report.contains(name)))
        .collect()
}
