//! Writing beside searches: one embedding writer behind the routes, commits that are shared, and one last commit
//! at the end.
//!
//! A document is *accepted* once it stands in the writer's queue, and *committed* once a commit that began later has
//! succeeded. Only what is committed survives the death of the process; an orderly [`close`](Ingest::close) commits all
//! that was accepted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use adam_plugin::{EmbeddingWriter, Engine, Failure, PendingCommit, PluginError, Pulse, WriterSettings};
use prometheus::IntCounter;
use tantivy::query::Query;
use tantivy::{Opstamp, TantivyDocument, Term};

use crate::api_error::ApiError;
use crate::error::ServeError;

/// What a commit did.
#[derive(Debug)]
pub(crate) struct CommitOutcome {
    pub(crate) opstamp: Opstamp,
    /// Documents that this commit could not embed, whoever sent them.
    pub(crate) failures: Vec<Failure>,
    /// Whether this call did the commit; false where one that began after the caller's last write had done it already.
    pub(crate) fresh: bool,
}

#[derive(Default)]
struct LastCommit {
    /// Operations accepted before the last commit began.
    covers: u64,
    opstamp: Opstamp,
    /// Documents that the last commit could not embed: all callers that share the commit are told.
    failures: Vec<Failure>,
    /// Operations that were accepted and then lost in a rollback, which nobody who asked for a commit has heard of yet.
    untold: u64,
}

/// Who asks for a commit, and so what a rollback means to them.
#[derive(Debug, Clone, Copy)]
enum CommitCaller {
    /// Has just written, at this number of rollbacks: after another rollback, what was written may be lost.
    Writer(u64),
    /// Asks for everything that was accepted from any client.
    Client,
    /// The clock, which no one listens to.
    Clock,
}

/// Whether documents and deletions are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriterState {
    Writing,
    /// The writer stopped. It is tried again at every write and by the clock.
    Stopped(String),
    /// The writer's thread is gone, and only a new process helps.
    Dead(String),
    /// It has been busy with one step for a very long time.
    Stuck(Duration),
    /// The server is stopping.
    Closed,
}

/// A writer is stuck if it makes no progress for this long while something waits for it.
const STUCK: Duration = Duration::from_secs(300);

/// How often the clock looks whether the writer stopped, where it does not commit more often.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Ingest {
    engine: Arc<Engine>,
    /// `None` once closed. Adding shares it; only rolling back and closing need it alone.
    writer: RwLock<Option<EmbeddingWriter>>,
    accepted: AtomicU64,
    covered: AtomicU64,
    /// How often the writer went back to its last commit. Changes only while `last` and `writer` are both held alone.
    rollbacks: AtomicU64,
    /// Held during a commit, so that there is one at a time.
    last: Mutex<LastCommit>,
    /// Documents of commits that could not be embedded, for `/metrics`: some commits are nobody's.
    failed: IntCounter,
    closed: AtomicBool,
    /// The last commit is done; only merges are waited for.
    safe: AtomicBool,
    /// The writer's clock, to be read without its lock.
    pulse: Pulse,
    /// Its end ends the thread that commits now and then.
    _ticker: Mutex<Option<SyncSender<()>>>,
}

impl Ingest {
    /// Opens the writer. With `every`, what was accepted is committed that often without being asked. `failed` counts the
    /// documents that were not embedded.
    pub(crate) fn open(
        engine: Arc<Engine>,
        memory: usize,
        settings: WriterSettings,
        every: Option<Duration>,
        failed: IntCounter,
    ) -> Result<Arc<Self>, ServeError> {
        let writer = engine.writer(memory, settings)?;
        let ingest = Arc::new(Self {
            engine,
            pulse: writer.pulse(),
            writer: RwLock::new(Some(writer)),
            closed: AtomicBool::new(false),
            safe: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            rollbacks: AtomicU64::new(0),
            last: Mutex::new(LastCommit::default()),
            failed,
            _ticker: Mutex::new(None),
        });
        let (ticker, ended) = sync_channel::<()>(0);
        let weak = Arc::downgrade(&ingest);
        let pause = every.map_or(LOOK, |every| every.min(LOOK));
        std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || {
                let mut last = Instant::now();
                while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let Some(ingest) = weak.upgrade() else { return };
                    ingest.mend();
                    if every.is_some_and(|every| last.elapsed() >= every) {
                        last = Instant::now();
                        ingest.tick();
                    }
                }
            })
            .map_err(|source| ServeError::system("start the thread that commits", source))?;
        *ingest._ticker.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticker);
        Ok(ingest)
    }

    /// The commit by the clock.
    fn tick(&self) {
        if self.waiting() == 0 {
            return;
        }
        match self.commit_for(CommitCaller::Clock) {
            Ok(done) if !done.fresh => {}
            Ok(done) => done.failures.iter().for_each(|failure| {
                tracing::warn!(document = failure.document, problem = failure.problem, "not embedded");
            }),
            Err(error) => tracing::error!(error = error.message(), "the commit by the clock failed"),
        }
    }

    /// A writer that stopped is brought back also where nobody writes: who asks [`state`](Self::state) before writing would
    /// never see it again.
    fn mend(&self) {
        if let Some(problem) = self.pulse.stopped().filter(|_| !self.pulse.is_dead()) {
            let _ = self.recover(PluginError::WriterStopped { problem }, CommitCaller::Clock);
        }
    }

    /// Whether documents are accepted, as far as is known without waiting.
    pub(crate) fn state(&self) -> WriterState {
        if self.closed.load(Ordering::SeqCst) {
            return WriterState::Closed;
        }
        if let Some(problem) = self.pulse.stopped() {
            return if self.pulse.is_dead() { WriterState::Dead(problem) } else { WriterState::Stopped(problem) };
        }
        let quiet = self.pulse.quiet();
        if self.waiting() > 0 && quiet > STUCK && self.pulse.is_busy() {
            WriterState::Stuck(quiet)
        } else {
            WriterState::Writing
        }
    }

    fn writer(&self) -> RwLockReadGuard<'_, Option<EmbeddingWriter>> {
        // The writer keeps its own state whole; a panic of a thread that held the lock does no harm to it.
        self.writer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts documents into the queue; waits while it is full. Gives the number for [`commit`](Self::commit) that says when
    /// that was.
    pub(crate) fn add(&self, documents: Vec<TantivyDocument>) -> Result<u64, ApiError> {
        self.write(documents.len(), |writer| {
            documents.into_iter().try_for_each(|document| writer.update_document(document))
        })
    }

    /// Deletes documents that were accepted before; otherwise as [`add`](Self::add).
    pub(crate) fn delete(&self, terms: Vec<Term>, queries: Vec<Box<dyn Query>>) -> Result<u64, ApiError> {
        self.write(terms.len() + queries.len(), |writer| {
            terms.into_iter().try_for_each(|term| writer.delete_term(term))?;
            queries.into_iter().try_for_each(|query| writer.delete_query(query))
        })
    }

    fn write(
        &self,
        count: usize,
        operations: impl FnOnce(&EmbeddingWriter) -> Result<(), PluginError>,
    ) -> Result<u64, ApiError> {
        // A writer that stopped earlier is brought back first, so that this write need not fail for that.
        self.mend();
        let done = {
            let writer = self.writer();
            let writer = writer.as_ref().ok_or_else(ApiError::stopping)?;
            // A rollback needs the lock alone, so that there is none between this and the last of the operations.
            let rollbacks = self.rollbacks.load(Ordering::SeqCst);
            let done = operations(writer).map(|()| rollbacks);
            // Counted while the lock is held: whoever closes later sees the number. What a writer that had stopped refused was never
            // accepted.
            if !matches!(done, Err(PluginError::WriterStopped { .. } | PluginError::WriterGone)) {
                self.accepted.fetch_add(count as u64, Ordering::SeqCst);
            }
            done
        };
        done.map_err(|error| self.recover(error, CommitCaller::Writer(0)))
    }

    /// Operations accepted and not yet covered by a commit.
    pub(crate) fn waiting(&self) -> u64 {
        let covered = self.covered.load(Ordering::SeqCst);
        self.accepted.load(Ordering::SeqCst).saturating_sub(covered)
    }

    /// Commits what was accepted up to now, and shows it to searches. Callers that come while one commit runs share the
    /// next.
    ///
    /// With the number that [`add`](Self::add) or [`delete`](Self::delete) gave, it fails if the writer went back since then,
    /// for then what was written is gone. Without one, it fails once after documents of anybody were lost that way.
    pub(crate) fn commit(&self, since: Option<u64>) -> Result<CommitOutcome, ApiError> {
        self.commit_for(since.map_or(CommitCaller::Client, CommitCaller::Writer))
    }

    fn commit_for(&self, asker: CommitCaller) -> Result<CommitOutcome, ApiError> {
        let wanted = self.accepted.load(Ordering::SeqCst);
        let done = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match asker {
                CommitCaller::Writer(since) if since != self.rollbacks.load(Ordering::SeqCst) => {
                    return Err(ApiError::lost(0, None));
                }
                CommitCaller::Client if last.untold > 0 => {
                    return Err(ApiError::lost(std::mem::take(&mut last.untold), None));
                }
                _ => {}
            }
            if last.covers >= wanted && last.opstamp > 0 {
                return Ok(CommitOutcome { opstamp: last.opstamp, failures: last.failures.clone(), fresh: false });
            }
            let writer = self.writer();
            let writer = writer.as_ref().ok_or_else(ApiError::stopping)?;
            let covers = self.accepted.load(Ordering::SeqCst);
            writer.start_commit().and_then(PendingCommit::wait).map(|opstamp| {
                let failures = writer.take_failures();
                self.failed.inc_by(failures.len() as u64);
                *last = LastCommit { covers, opstamp, failures: failures.clone(), untold: last.untold };
                self.covered.store(covers, Ordering::SeqCst);
                CommitOutcome { opstamp, failures, fresh: true }
            })
        };
        let done = done.map_err(|error| self.recover(error, asker))?;
        self.engine.reload().map_err(ApiError::of)?;
        Ok(done)
    }

    /// A writer that stopped continues from its last commit, so that the server need not be restarted. What was accepted since is
    /// lost. The loss is reported to the caller, and to the next client that asks for a commit.
    fn recover(&self, error: PluginError, asker: CommitCaller) -> ApiError {
        if !matches!(
            error,
            PluginError::WriterStopped { .. }
                | PluginError::Tantivy(_)
                | PluginError::NotWritten { .. }
                | PluginError::FolderChanged { .. }
                | PluginError::Panicked { .. }
                | PluginError::WriterGone
        ) {
            return ApiError::of(error);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = writer.as_mut() else { return ApiError::stopping() };
        let Some(problem) = writer.stopped() else {
            // Another request met the same failure and has seen to it.
            return ApiError::lost(
                match asker {
                    CommitCaller::Client => std::mem::take(&mut last.untold),
                    CommitCaller::Writer(_) | CommitCaller::Clock => 0,
                },
                None,
            );
        };
        // Whether or not the writer can continue, what it had accepted and not committed is lost.
        let lost = self.waiting();
        let renewed = writer.rollback();
        let opstamp = renewed.as_ref().map_or(last.opstamp, |opstamp| *opstamp);
        let untold = match asker {
            CommitCaller::Client => 0,
            CommitCaller::Writer(_) | CommitCaller::Clock => last.untold + lost,
        };
        let covers = self.accepted.load(Ordering::SeqCst);
        *last = LastCommit { covers, opstamp, failures: Vec::new(), untold };
        self.covered.store(covers, Ordering::SeqCst);
        if lost > 0 || renewed.is_ok() {
            self.rollbacks.fetch_add(1, Ordering::SeqCst);
        }
        // They belong to documents that are lost.
        drop(writer.take_failures());
        match renewed {
            Ok(_) => {
                tracing::error!(%error, lost, "the writer stopped and went back to the last commit");
                ApiError::lost(lost, Some(&problem))
            }
            Err(again) => {
                if lost > 0 {
                    tracing::error!(%error, %again, lost, "the writer stopped and cannot go on; it is tried again");
                }
                ApiError::not_writing(lost, &problem)
            }
        }
    }

    /// Commits all that was accepted and closes the writer, merges included; the number of operations that this last
    /// commit made safe.
    pub(crate) fn close(&self) -> Result<u64, ServeError> {
        self.closed.store(true, Ordering::SeqCst);
        let Some(mut writer) = self.writer.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(0) };
        let waiting = self.waiting();
        if waiting > 0 {
            writer.commit()?;
            self.covered.store(self.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        self.safe.store(true, Ordering::SeqCst);
        for failure in writer.take_failures() {
            self.failed.inc();
            tracing::warn!(document = failure.document, problem = failure.problem, "not embedded");
        }
        writer.wait_merging_threads()?;
        self.engine.reload()?;
        Ok(waiting)
    }

    /// As [`close`](Self::close), on a thread of its own, and given up after the writer has made no progress for `patience`. That
    /// thread then runs until the process ends.
    ///
    /// `since` is when the process was told to end: time before that does not count.
    pub(crate) fn close_within(self: &Arc<Self>, since: Instant, patience: Duration) -> Result<u64, ServeError> {
        let waiting = self.waiting();
        let (answer, answered) = sync_channel(1);
        let ingest = Arc::clone(self);
        std::thread::Builder::new()
            .name("close".to_owned())
            .spawn(move || {
                let _ = answer.send(ingest.close());
            })
            .map_err(|source| ServeError::system("start the thread that closes the index", source))?;
        loop {
            match answered.recv_timeout(Duration::from_millis(50)) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => return Err(PluginError::WriterGone.into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let quiet = self.pulse.quiet().min(since.elapsed());
            if quiet < patience {
                continue;
            }
            if self.safe.load(Ordering::SeqCst) {
                tracing::warn!("merges that were still running are given up; all documents are committed");
                return Ok(waiting);
            }
            return Err(ServeError::WriterStuck { quiet, waiting: self.waiting() });
        }
    }
}

#[cfg(test)]
mod tests;
