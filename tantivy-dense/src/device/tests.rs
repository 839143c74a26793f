//! The owner's thread, with the processor as its device. Answers are real ones; a wrapper around it holds calls back, and
//! makes some go wrong.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tantivy::index::SegmentId;

use super::backend::{Backend, Nearest, Trouble};
use super::host::Host;
use super::owner::Source;
use super::{Answer, Device, DeviceOptions, Key, Slot};
use crate::DenseError;
use crate::ann::{AnnBuild, AnnIndex, RowSlice, RowSource, Similarity};
use crate::lock::lock;

const DIMENSION: usize = 8;

/// Rows of a segment that exists in memory only.
struct Rows {
    values: Vec<f32>,
    lists: Option<AnnIndex>,
}

impl Rows {
    fn new(seed: u64, rows: usize) -> Arc<Rows> {
        Arc::new(Rows { values: values(seed, rows), lists: None })
    }
}

fn values(seed: u64, rows: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..rows * DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect()
}

impl RowSource for Rows {
    fn len(&self) -> usize {
        self.values.len() / DIMENSION
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), DenseError> {
        RowSlice::new(&self.values, DIMENSION)?.read(first, out)
    }
}

impl Source for Rows {
    fn rows(&self) -> &dyn RowSource {
        self
    }

    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn similarity(&self) -> Similarity {
        Similarity::InnerProduct
    }

    fn lists(&self) -> Option<(&AnnIndex, u64)> {
        self.lists.as_ref().map(|index| (index, 1000))
    }
}

/// What goes wrong with a call.
enum Fault {
    Panic,
    Trouble(Trouble),
}

/// What is going to happen to the next calls.
#[derive(Clone, Default)]
struct Script {
    /// One for each of the next searches.
    searches: Arc<Mutex<VecDeque<Option<Fault>>>>,
    /// One for each of the next copies.
    copies: Arc<Mutex<VecDeque<Option<Fault>>>>,
    /// Searches wait for a word each, as long as there is a sender.
    gate: Arc<Mutex<Option<Receiver<()>>>>,
    /// Searches begun.
    begun: Arc<AtomicUsize>,
}

impl Script {
    /// Holds searches back until a word comes.
    fn close_gate(&self) -> Sender<()> {
        let (open, gate) = channel();
        *lock(&self.gate) = Some(gate);
        open
    }

    /// Waits until a search stands before the gate.
    fn wait_for_the_first(&self) {
        while self.begun.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn go_wrong(script: &Mutex<VecDeque<Option<Fault>>>) -> Result<(), Trouble> {
    let next = lock(script).pop_front().flatten();
    match next {
        None => Ok(()),
        Some(Fault::Trouble(trouble)) => Err(trouble),
        Some(Fault::Panic) => panic!("as the script has it"),
    }
}

struct ScriptedBackend {
    host: Host,
    script: Script,
}

impl Backend for ScriptedBackend {
    type Block = AnnIndex;

    fn memory(&self) -> u64 {
        self.host.memory()
    }

    fn most(&self) -> usize {
        self.host.most()
    }

    fn copy_rows(&mut self, rows: &dyn RowSource, kind: Similarity, dimension: usize) -> Result<AnnIndex, Trouble> {
        go_wrong(&self.script.copies)?;
        self.host.copy_rows(rows, kind, dimension)
    }

    fn copy_lists(&mut self, index: &AnnIndex) -> Result<AnnIndex, Trouble> {
        self.host.copy_lists(index)
    }

    fn nearest(&mut self, block: &AnnIndex, queries: &[f32], k: usize, nprobe: usize) -> Result<Nearest, Trouble> {
        self.script.begun.fetch_add(1, Ordering::SeqCst);
        let mut gate = lock(&self.script.gate);
        if gate.as_ref().is_some_and(|gate| gate.recv().is_err()) {
            *gate = None;
        }
        drop(gate);
        go_wrong(&self.script.searches)?;
        self.host.nearest(block, queries, k, nprobe)
    }
}

fn device(options: DeviceOptions) -> (Device, Script) {
    let script = Script::default();
    let scripted = ScriptedBackend { host: Host, script: script.clone() };
    (Device::with_backend("scripted".to_owned(), options, move || Ok(scripted)), script)
}

fn slot(device: &Device) -> Slot {
    Slot::new(device, Key { segment: SegmentId::generate_random(), field: 0, checksum: 0, lists: false })
}

/// A query, and the rows nearest to it as plain Rust finds them.
fn query(rows: &Rows, seed: u64, k: usize) -> (Vec<f32>, Vec<i64>) {
    let query = values(seed, 1);
    let dot = |row: &[f32]| -> f64 { row.iter().zip(&query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let mut all: Vec<(f64, i64)> = rows.values.chunks(DIMENSION).map(dot).zip(0..).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    (query, all.into_iter().take(k).map(|(_, row)| row).collect())
}

fn wait_until(device: &Device, waiting: u64) {
    while device.usage().waiting < waiting {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn queries_that_wait_are_answered_together() {
    let (device, script) = device(DeviceOptions::default());
    let rows = Rows::new(1, 500);
    let slot = slot(&device);
    let gate = script.close_gate();
    let ask = |seed: u64| -> Answer {
        let (vector, truth) = query(&rows, seed, 5);
        let answer = slot.ask(rows.clone(), vector, (5, 0)).unwrap();
        assert_eq!(answer.nearest.rows, truth, "query {seed}");
        assert_eq!(answer.rows, 500);
        answer
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(100));
        // The first is being searched for; the others come meanwhile.
        script.wait_for_the_first();
        let others: Vec<_> = (0..20).map(|seed| scope.spawn(move || ask(200 + seed))).collect();
        wait_until(&device, 21);
        drop(gate);
        assert_eq!(first.join().unwrap().batch, 1);
        assert!(others.into_iter().all(|other| other.join().unwrap().batch == 20));
    });
    let usage = device.usage();
    assert_eq!((usage.calls, usage.queries, usage.copied, usage.blocks), (2, 21, 1, 1));
    assert_eq!((usage.waiting, usage.failed), (0, 0));
}

#[test]
fn only_what_goes_together_is_answered_together() {
    let (device, script) = device(DeviceOptions::default().batch(4));
    let (a, b) = (Rows::new(1, 300), Rows::new(2, 400));
    let (in_a, in_b) = (slot(&device), slot(&device));
    let gate = script.close_gate();
    std::thread::scope(|scope| {
        let ask = |rows: &Arc<Rows>, slot: &Slot, seed: u64, k: usize| {
            let (vector, truth) = query(rows, seed, k);
            let answer = slot.ask(rows.clone(), vector, (k, 0)).unwrap();
            assert_eq!(answer.nearest.rows, truth, "query {seed}");
            assert!(answer.batch <= 4);
        };
        let (a, b, in_a, in_b) = (&a, &b, &in_a, &in_b);
        scope.spawn(move || ask(a, in_a, 50, 3));
        script.wait_for_the_first();
        for seed in 0..10 {
            scope.spawn(move || ask(a, in_a, 100 + seed, 3));
            scope.spawn(move || ask(a, in_a, 200 + seed, 7));
            scope.spawn(move || ask(b, in_b, 300 + seed, 3));
        }
        wait_until(&device, 31);
        drop(gate);
    });
    let usage = device.usage();
    // The first one, and three kinds of ten queries, four to a call.
    assert_eq!((usage.calls, usage.queries, usage.copied, usage.blocks), (10, 31, 2, 2));
}

#[test]
fn a_batch_is_split_among_those_who_asked() {
    let (device, _) = device(DeviceOptions::default());
    let rows = Rows::new(3, 50);
    let slot = slot(&device);
    let asked: Vec<_> = (0..7).map(|seed| query(&rows, seed, 60)).collect();
    let together = asked.iter().flat_map(|(vector, _)| vector.clone()).collect();
    let answer = slot.ask(rows.clone(), together, (60, 0)).unwrap();
    assert_eq!(answer.batch, 7);
    for (places, (_, truth)) in answer.nearest.rows.chunks(60).zip(&asked) {
        assert_eq!(&places[..50], truth, "all rows, nearest first");
        assert!(places[50..].iter().all(|&row| row == -1), "and no more");
    }
    let length = |row: &[f32]| row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let longest = rows.values.chunks(DIMENSION).map(length).fold(0.0, f64::max);
    assert!((f64::from(answer.longest) - longest).abs() < 1e-6 && f64::from(answer.longest) >= longest);
}

#[test]
fn a_panic_is_a_reason_for_all_that_wait_and_all_that_come() {
    let (device, script) = device(DeviceOptions::default());
    let rows = Rows::new(4, 100);
    let slot = slot(&device);
    let gate = script.close_gate();
    lock(&script.searches).extend([None, Some(Fault::Panic)]);
    std::thread::scope(|scope| {
        let ask = |seed: u64| slot.ask(rows.clone(), values(seed, 1), (5, 0)).map(drop);
        let first = scope.spawn(move || ask(0));
        script.wait_for_the_first();
        let others: Vec<_> = (1..9).map(|seed| scope.spawn(move || ask(seed))).collect();
        wait_until(&device, 9);
        drop(gate);
        assert_eq!(first.join().unwrap(), Ok(()));
        for other in others {
            let why = other.join().unwrap().unwrap_err();
            assert!(why.contains("panicked: as the script has it"), "{why}");
        }
    });
    let why = slot.ask(rows.clone(), values(9, 1), (5, 0)).unwrap_err();
    assert!(why.contains("panicked"), "{why}");
    assert!(device.unavailable().unwrap().contains("panicked"));
    assert_eq!((device.usage().blocks, device.usage().bytes), (0, 0));
    assert_eq!(device.usage().failed, 2);
}

#[test]
fn a_device_that_is_lost_stays_so_and_one_that_refused_does_not() {
    let (device, script) = device(DeviceOptions::default());
    let rows = Rows::new(5, 100);
    let slot = slot(&device);
    lock(&script.searches).extend([
        Some(Fault::Trouble(Trouble::Refused("not now".to_owned()))),
        None,
        Some(Fault::Trouble(Trouble::Lost("the cable is out".to_owned()))),
    ]);
    let ask = || slot.ask(rows.clone(), values(9, 1), (5, 0)).map(drop);
    assert_eq!(
        [ask(), ask(), ask(), ask()],
        [Err("not now".to_owned()), Ok(()), Err("the cable is out".to_owned()), Err("the cable is out".to_owned())]
    );
    assert_eq!(device.unavailable().as_deref(), Some("the cable is out"));
}

#[test]
fn a_device_that_does_not_open_says_why() {
    let rows = Rows::new(6, 10);
    let device = Device::with_backend("closed".to_owned(), DeviceOptions::default(), || -> Result<Host, String> {
        Err("no driver".to_owned())
    });
    assert_eq!(device.unavailable().as_deref(), Some("no driver"));
    assert_eq!(slot(&device).ask(rows.clone(), values(1, 1), (5, 0)).map(drop), Err("no driver".to_owned()));
    let device = Device::with_backend("panics".to_owned(), DeviceOptions::default(), || -> Result<Host, String> {
        panic!("while opening")
    });
    assert!(device.unavailable().unwrap().contains("while opening"));
    assert!(slot(&device).ask(rows, values(1, 1), (5, 0)).is_err());
}

#[test]
fn memory_that_is_not_there_is_made_by_evicting_and_a_reason_where_it_cannot_be() {
    let full = || Some(Fault::Trouble(Trouble::Full("out of memory".to_owned())));
    let (device, script) = device(DeviceOptions::default().keep(Duration::ZERO));
    let (a, b) = (Rows::new(7, 100), Rows::new(8, 100));
    let (in_a, in_b) = (slot(&device), slot(&device));
    let ask = |rows: &Arc<Rows>, slot: &Slot| {
        let (vector, truth) = query(rows, 1, 5);
        slot.ask(rows.clone(), vector, (5, 0)).map(|answer| assert_eq!(answer.nearest.rows, truth))
    };
    ask(&a, &in_a).unwrap();
    // The copy of b does not fit until a is gone.
    lock(&script.copies).push_back(full());
    ask(&b, &in_b).unwrap();
    assert_eq!((device.usage().blocks, device.usage().evicted, device.usage().copied), (1, 1, 2));
    // Nor does a search of b, beside a.
    ask(&a, &in_a).unwrap();
    lock(&script.searches).push_back(full());
    ask(&b, &in_b).unwrap();
    assert_eq!((device.usage().blocks, device.usage().evicted), (1, 2));
    // There is nothing else to evict.
    lock(&script.searches).push_back(full());
    assert_eq!(ask(&b, &in_b), Err("out of memory".to_owned()));
    ask(&b, &in_b).unwrap();
    assert_eq!((device.usage().copied, device.usage().evicted, device.usage().failed), (3, 2, 1));
}

#[test]
fn a_refused_copy_is_not_tried_again_for_every_query() {
    for (keep, tried) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 3)] {
        let (device, script) = device(DeviceOptions::default().keep(keep));
        let rows = Rows::new(9, 100);
        let place = slot(&device);
        let refusal = || Some(Fault::Trouble(Trouble::Refused("a row is too long".to_owned())));
        lock(&script.copies).extend([refusal(), refusal(), refusal()]);
        for _ in 0..3 {
            let answer = place.ask(rows.clone(), values(1, 1), (5, 0)).map(drop);
            assert_eq!(answer, Err("a row is too long".to_owned()));
        }
        assert_eq!(lock(&script.copies).len(), 3 - tried, "kept for {keep:?}");
        // Another segment is another matter.
        lock(&script.copies).clear();
        slot(&device).ask(rows.clone(), values(1, 1), (5, 0)).unwrap();
    }
}

#[test]
fn blocks_come_and_go_with_limit_and_users() {
    let bytes = (100 * DIMENSION * 4) as u64;
    let sources: Vec<Arc<Rows>> = (0..3).map(|seed| Rows::new(seed, 100)).collect();
    let ask = |slot: &Slot, at: usize| slot.ask(sources[at].clone(), values(1, 1), (5, 0)).map(drop);
    for (keep, stays) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
        let options = DeviceOptions::default().memory_bytes(2 * bytes).keep(keep);
        let device = Device::host_with(options);
        let mut slots: Vec<Slot> = (0..3).map(|_| slot(&device)).collect();
        ask(&slots[0], 0).unwrap();
        ask(&slots[1], 1).unwrap();
        ask(&slots[0], 0).unwrap();
        assert_eq!((device.usage().blocks, device.usage().bytes, device.usage().copied), (2, 2 * bytes, 2));
        if stays {
            let why = ask(&slots[2], 2).unwrap_err();
            assert!(why.contains("do not fit beside"), "{why}");
            // Where the user of a block goes, there is room for another.
            drop(slots.remove(1));
            ask(&slots[1], 2).unwrap();
            assert_eq!((device.usage().copied, device.usage().evicted), (3, 0));
        } else {
            ask(&slots[2], 2).unwrap();
            ask(&slots[0], 0).unwrap();
            assert_eq!((device.usage().copied, device.usage().evicted), (3, 1), "the one unused for longest went");
        }
        assert_eq!(device.usage().blocks, 2);
        drop(slots);
        // Asked after the releases, so answered after them.
        let last = slot(&device);
        ask(&last, 0).unwrap();
        assert_eq!((device.usage().blocks, device.usage().bytes), (1, bytes));
    }
    let device = Device::host_with(DeviceOptions::default().memory_bytes(bytes - 1));
    let why = ask(&slot(&device), 0).unwrap_err();
    assert!(why.contains("are more than"), "{why}");
}

#[test]
fn lists_are_searched_as_on_the_processor() {
    let values = values(11, 2000);
    let build = AnnBuild { threads: 1, ..AnnBuild::new("IVF16,Flat", Similarity::InnerProduct, DIMENSION) };
    let cancel = AtomicBool::new(false);
    let index = AnnIndex::build(&build, &RowSlice::new(&values, DIMENSION).unwrap(), &cancel).unwrap();
    let rows = Arc::new(Rows { values, lists: Some(index) });
    let (device, _) = device(DeviceOptions::default());
    let slot = slot(&device);
    for nprobe in [1, 4, 16] {
        for seed in 0..10 {
            let (vector, _) = query(&rows, seed, 5);
            let search = crate::ann::AnnSearch { nprobe: Some(nprobe), ..Default::default() };
            let expected = rows.lists.as_ref().unwrap().search(&vector, 5, &search, None).unwrap();
            let expected: Vec<i64> = expected.into_iter().map(|(row, _)| i64::from(row)).collect();
            assert_eq!(slot.ask(rows.clone(), vector, (5, nprobe)).unwrap().nearest.rows, expected);
        }
    }
    assert_eq!((device.usage().blocks, device.usage().copied), (1, 1));
    // Rows that have none refuse, and rows and lists of one segment are two blocks.
    slot.ask(rows.clone(), query(&rows, 1, 5).0, (5, 0)).unwrap();
    assert_eq!(device.usage().blocks, 2);
    let (without, elsewhere) = (Rows::new(12, 10), self::slot(&device));
    assert!(elsewhere.ask(without.clone(), query(&without, 1, 5).0, (5, 2)).is_err());
}

#[test]
fn a_device_can_be_dropped_by_its_own_thread() {
    // The last handle is in a source that waits in the queue.
    struct Holder {
        rows: Arc<Rows>,
        _slot: Slot,
    }
    impl Source for Holder {
        fn rows(&self) -> &dyn RowSource {
            self.rows.as_ref()
        }
        fn dimension(&self) -> usize {
            DIMENSION
        }
        fn similarity(&self) -> Similarity {
            Similarity::InnerProduct
        }
        fn lists(&self) -> Option<(&AnnIndex, u64)> {
            None
        }
    }
    let (device, script) = device(DeviceOptions::default());
    let gate = script.close_gate();
    let holder = Arc::new(Holder { rows: Rows::new(1, 20), _slot: slot(&device) });
    let asks = {
        let (device, holder) = (device.clone(), Arc::clone(&holder));
        std::thread::spawn(move || slot(&device).ask(holder, values(1, 1), (5, 0)).map(drop))
    };
    script.wait_for_the_first();
    drop(holder);
    drop(device);
    drop(gate);
    asks.join().unwrap().unwrap();
}
