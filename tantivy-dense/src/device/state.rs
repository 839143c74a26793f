//! What the thread that owns a device tells everybody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::usage::DeviceUsage;
use crate::lock::lock;

/// What an open device can take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// Bytes of blocks.
    pub limit: u64,
    /// Rows for one query.
    pub most: usize,
}

/// What the owner tells everybody else.
pub(super) struct State {
    pub(super) name: String,
    pub(super) ready: Mutex<Option<Result<Ready, String>>>,
    pub(super) decided: Condvar,
    pub(super) usage: Mutex<DeviceUsage>,
    pub(super) waiting: AtomicU64,
}

impl State {
    pub(super) fn new(name: String) -> State {
        let (usage, waiting) = (Mutex::default(), AtomicU64::new(0));
        State { name, ready: Mutex::new(None), decided: Condvar::new(), usage, waiting }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn ready(&self) -> Result<Ready, String> {
        let mut ready = lock(&self.ready);
        loop {
            match &*ready {
                Some(ready) => return ready.clone(),
                None => ready = self.decided.wait(ready).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn opened(&self, limit: u64, most: usize) {
        lock(&self.usage).limit = limit;
        *lock(&self.ready) = Some(Ok(Ready { limit, most }));
        self.decided.notify_all();
    }

    pub(super) fn lost(&self, why: String) {
        let usage = &mut *lock(&self.usage);
        (usage.blocks, usage.bytes) = (0, 0);
        *lock(&self.ready) = Some(Err(why));
        self.decided.notify_all();
    }

    pub(super) fn reason(&self) -> String {
        match &*lock(&self.ready) {
            Some(Err(why)) => why.clone(),
            _ => "it is not open".to_owned(),
        }
    }

    pub(super) fn tell(&self, blocks: usize, bytes: u64, limit: u64, copied: u64, evicted: u64) {
        let usage = &mut *lock(&self.usage);
        *usage = DeviceUsage { blocks, bytes, limit, copied, evicted, ..*usage };
    }

    pub(super) fn count(&self, queries: usize) {
        let usage = &mut *lock(&self.usage);
        usage.calls += u64::from(queries > 0);
        usage.queries += queries as u64;
    }

    pub(super) fn failed(&self) {
        lock(&self.usage).failed += 1;
    }

    /// Counts queries as waiting until what is returned is dropped.
    pub(super) fn wait_for(&self, queries: usize) -> impl Drop {
        struct Waiting<'a>(&'a AtomicU64, u64);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(self.1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(queries as u64, Ordering::Relaxed);
        Waiting(&self.waiting, queries as u64)
    }
}
