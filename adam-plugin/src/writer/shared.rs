//! What a writer and its thread share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::settings::{Failure, Progress};
use crate::error::PluginError;

/// What the writer and its thread share.
pub(super) struct Shared {
    /// Operations of a generation below this one were rolled back.
    pub(super) generation: AtomicU64,
    pub(super) state: Mutex<State>,
    /// When the writer was made.
    pub(super) start: Instant,
    /// When the thread last got something done, in milliseconds from the start.
    pub(super) beat: AtomicU64,
    /// Whether it is at work.
    pub(super) busy: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(0),
            state: Mutex::default(),
            start: Instant::now(),
            beat: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Why the thread has stopped taking documents.
    pub(super) stopped: Option<String>,
    /// Whether it has ended by itself, as only a fault of this program makes it.
    pub(super) dead: bool,
    pub(super) progress: Progress,
    pub(super) failures: Vec<Failure>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere does no harm to it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread got something done.
    pub(super) fn beat(&self) {
        self.beat.store(self.start.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    /// Why the thread does not answer.
    pub(super) fn gone(&self) -> PluginError {
        match &self.state().stopped {
            Some(problem) => PluginError::WriterStopped { problem: problem.clone() },
            None => PluginError::WriterGone,
        }
    }
}

/// How the thread of a writer fares; see [`EmbeddingWriter::pulse`](super::EmbeddingWriter::pulse).
#[derive(Clone)]
pub struct Pulse(pub(super) Arc<Shared>);

impl std::fmt::Debug for Pulse {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pulse").field("stopped", &self.stopped()).field("quiet", &self.quiet()).finish()
    }
}

impl Pulse {
    /// As [`EmbeddingWriter::stopped`](super::EmbeddingWriter::stopped).
    pub fn stopped(&self) -> Option<String> {
        self.0.state().stopped.clone()
    }

    /// Time since the thread last made progress. If it [is busy](Self::is_busy), it has been at one step for this long: a batch in the
    /// model, or a commit.
    pub fn quiet(&self) -> Duration {
        self.0.start.elapsed().saturating_sub(Duration::from_millis(self.0.beat.load(Ordering::SeqCst)))
    }

    /// Whether the thread has ended by a fault of this program, so that only a new writer helps.
    pub fn is_dead(&self) -> bool {
        self.0.state().dead
    }

    /// Whether it is at work, and not waiting for something to do.
    pub fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::SeqCst)
    }
}
