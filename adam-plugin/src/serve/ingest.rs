//! Writing while searches go on: one embedding writer behind the routes, commits that are shared, and one last commit
//! at the end.
//!
//! A document is *accepted* once it stands in the writer's queue, and *committed* once a commit that began later has
//! succeeded. Only what is committed survives the death of the process; an orderly [`close`](Ingest::close) commits all
//! that was accepted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use tantivy::query::Query;
use tantivy::{Opstamp, TantivyDocument, Term};

use super::error::ApiError;
use crate::engine::Engine;
use crate::error::PluginError;
use crate::writer::{EmbeddingWriter, Failure, WriterSettings};

/// What a commit did.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) opstamp: Opstamp,
    /// Documents that could not be embedded since the commit before.
    pub(super) failures: Vec<Failure>,
    /// Whether this call did the commit; false where one that began after the caller's last write had done it already.
    pub(super) fresh: bool,
}

#[derive(Default)]
struct Last {
    /// Operations accepted before the last commit began.
    covers: u64,
    opstamp: Opstamp,
}

pub(super) struct Ingest {
    engine: Arc<Engine>,
    /// `None` once closed. Adding shares it; only rolling back and closing need it alone.
    writer: RwLock<Option<EmbeddingWriter>>,
    accepted: AtomicU64,
    covered: AtomicU64,
    /// Held during a commit, so that there is one at a time.
    last: Mutex<Last>,
    /// Its end ends the thread that commits now and then.
    _ticker: Mutex<Option<Sender<()>>>,
}

impl Ingest {
    /// Opens the writer. With `every`, what was accepted is committed that often without being asked.
    pub(super) fn open(
        engine: Arc<Engine>,
        memory: usize,
        settings: WriterSettings,
        every: Option<Duration>,
    ) -> Result<Arc<Self>, PluginError> {
        let writer = engine.writer(memory, settings)?;
        let ingest = Arc::new(Self {
            engine,
            writer: RwLock::new(Some(writer)),
            accepted: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            last: Mutex::new(Last::default()),
            _ticker: Mutex::new(None),
        });
        if let Some(every) = every {
            let (ticker, ended) = bounded::<()>(0);
            let weak = Arc::downgrade(&ingest);
            std::thread::Builder::new()
                .name("commit".to_owned())
                .spawn(move || {
                    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                        let Some(ingest) = weak.upgrade() else { return };
                        if ingest.waiting() == 0 {
                            continue;
                        }
                        match ingest.commit() {
                            Ok(done) => done.failures.iter().for_each(|failure| {
                                tracing::warn!(document = failure.document, problem = failure.problem, "not embedded");
                            }),
                            Err(error) => tracing::error!(error = error.message(), "the commit by the clock failed"),
                        }
                    }
                })
                .map_err(|source| PluginError::io("start", "the thread that commits", source))?;
            *ingest._ticker.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticker);
        }
        Ok(ingest)
    }

    fn writer(&self) -> RwLockReadGuard<'_, Option<EmbeddingWriter>> {
        // The writer keeps its own state whole; a panic of a thread that held the lock does no harm to it.
        self.writer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts documents into the queue; waits while it is full.
    pub(super) fn add(&self, documents: Vec<TantivyDocument>) -> Result<(), ApiError> {
        self.write(documents.len(), |writer| {
            documents.into_iter().try_for_each(|document| writer.update_document(document))
        })
    }

    pub(super) fn delete(&self, terms: Vec<Term>, queries: Vec<Box<dyn Query>>) -> Result<(), ApiError> {
        self.write(terms.len() + queries.len(), |writer| {
            terms.into_iter().try_for_each(|term| writer.delete_term(term))?;
            queries.into_iter().try_for_each(|query| writer.delete_query(query))
        })
    }

    fn write(
        &self,
        count: usize,
        operations: impl FnOnce(&EmbeddingWriter) -> Result<(), PluginError>,
    ) -> Result<(), ApiError> {
        let done = {
            let writer = self.writer();
            let writer = writer.as_ref().ok_or_else(ApiError::stopping)?;
            let done = operations(writer);
            // Counted while the lock is held: whoever closes later sees the number.
            self.accepted.fetch_add(count as u64, Ordering::SeqCst);
            done
        };
        done.map_err(|error| self.recover(error))
    }

    /// Operations accepted and not yet covered by a commit.
    pub(super) fn waiting(&self) -> u64 {
        let covered = self.covered.load(Ordering::SeqCst);
        self.accepted.load(Ordering::SeqCst).saturating_sub(covered)
    }

    /// Commits what was accepted up to now, and shows it to searches. Callers that come while one commit runs share the
    /// next.
    pub(super) fn commit(&self) -> Result<Committed, ApiError> {
        let wanted = self.accepted.load(Ordering::SeqCst);
        let done = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.covers >= wanted && last.opstamp > 0 {
                return Ok(Committed { opstamp: last.opstamp, failures: Vec::new(), fresh: false });
            }
            let writer = self.writer();
            let writer = writer.as_ref().ok_or_else(ApiError::stopping)?;
            let covers = self.accepted.load(Ordering::SeqCst);
            writer.start_commit().and_then(crate::writer::PendingCommit::wait).map(|opstamp| {
                *last = Last { covers, opstamp };
                self.covered.store(covers, Ordering::SeqCst);
                Committed { opstamp, failures: writer.take_failures(), fresh: true }
            })
        };
        let done = done.map_err(|error| self.recover(error))?;
        self.engine.reload().map_err(ApiError::backend)?;
        Ok(done)
    }

    /// A writer that stopped goes on from its last commit, so that the server need not be started anew. What was
    /// accepted since is lost, and that is said.
    fn recover(&self, error: PluginError) -> ApiError {
        if !matches!(error, PluginError::WriterStopped { .. } | PluginError::Tantivy(_)) {
            return ApiError::of(error);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = writer.as_mut() else { return ApiError::stopping() };
        if writer.stopped().is_none() {
            // Another request met the same failure and has seen to it.
            return ApiError::lost(0);
        }
        let lost = self.waiting();
        match writer.rollback() {
            Ok(opstamp) => {
                *last = Last { covers: self.accepted.load(Ordering::SeqCst), opstamp };
                self.covered.store(last.covers, Ordering::SeqCst);
            }
            Err(again) => tracing::error!(error = %again, "the writer cannot roll back"),
        }
        tracing::error!(%error, lost, "the writer stopped and went back to the last commit");
        ApiError::lost(lost)
    }

    /// Commits all that was accepted and closes the writer, merges included; the number of operations that this last
    /// commit made safe.
    pub(super) fn close(&self) -> Result<u64, PluginError> {
        let Some(mut writer) = self.writer.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(0) };
        let waiting = self.waiting();
        if waiting > 0 {
            writer.commit()?;
            self.covered.store(self.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        for failure in writer.take_failures() {
            tracing::warn!(document = failure.document, problem = failure.problem, "not embedded");
        }
        writer.wait_merging_threads()?;
        self.engine.reload()?;
        Ok(waiting)
    }
}
