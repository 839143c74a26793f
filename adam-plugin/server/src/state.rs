//! What the routes share: the index, its model, the limits, the writer.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adam_encoder::{SentenceEncoder, TextEncoder};
use adam_plugin::{Engine, PluginError, WriterSettings};
use axum::body::Bytes;
use tokio::sync::Semaphore;

use crate::api_error::ApiError;
use crate::error::ServeError;
use crate::ingest::{Ingest, WriterState};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::options::ServiceOptions;
use crate::turns::{Turn, Turns};

/// An index behind HTTP. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    encoder: Arc<SentenceEncoder>,
    options: ServiceOptions,
    metrics: Metrics,
    /// Threads for searches and embeddings: one for each core, so that requests wait instead of slowing one another
    /// down.
    compute: Arc<Semaphore>,
    /// Turns of work that is long, which is done in pieces beside the short.
    turns: Turns,
    /// Cores of this machine, and when they last worked for a short request.
    cores: usize,
    short: Mutex<Instant>,
    /// Threads that may wait at the writer's queue or for a commit; apart from the others, since they wait long.
    writing: Arc<Semaphore>,
    ingest: Option<Arc<Ingest>>,
    /// The OpenAPI document, once somebody has asked for it.
    description: OnceLock<Bytes>,
}

/// Most cores for one piece of long work: as many as a model has sessions.
const MOST_LANES: usize = 8;
/// After this time without a short request, none is expected.
const QUIET: Duration = Duration::from_millis(250);
/// Requests that may wait inside the writer at once.
const WRITING: usize = 32;

impl Service {
    /// A service over an index and the model it was made with. Unless read-only, it holds the index's only writer.
    ///
    /// # Errors
    /// When the model is another, an option has a value that cannot be honoured, or somebody else writes to the index.
    pub fn new(engine: Engine, encoder: Arc<SentenceEncoder>, options: ServiceOptions) -> Result<Self, ServeError> {
        options.check()?;
        let shared: Arc<dyn TextEncoder> = encoder.clone();
        let engine = Arc::new(engine.with_encoder(shared)?);
        let metrics = Metrics::new().map_err(ServeError::Metrics)?;
        let ingest = if options.read_only {
            None
        } else {
            let settings = WriterSettings::default()
                .batch(options.batch)
                .queue(options.batch.saturating_mul(4))
                .on_failure(options.on_failure);
            let failed = metrics.failed.clone();
            Some(Ingest::open(Arc::clone(&engine), options.memory, settings, options.commit_every, failed)?)
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Ok(Self(Arc::new(Inner {
            engine,
            encoder,
            options,
            metrics,
            compute: Arc::new(Semaphore::new(cores)),
            turns: Turns::default(),
            cores,
            short: Mutex::new(Instant::now()),
            writing: Arc::new(Semaphore::new(WRITING)),
            ingest,
            description: OnceLock::new(),
        })))
    }

    /// The index.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// The model.
    pub fn encoder(&self) -> Arc<SentenceEncoder> {
        Arc::clone(&self.0.encoder)
    }

    pub(crate) fn options(&self) -> &ServiceOptions {
        &self.0.options
    }

    /// Commits everything that was accepted and closes the writer; the number of documents and deletions that this made
    /// safe. Searches go on; writing is refused from here on. [`Server`](crate::Server) calls it at its end; a program that
    /// nests the [`router`](crate::router) in its own server calls it after that server's last request.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn close(&self) -> Result<u64, ServeError> {
        let Some(ingest) = self.0.ingest.clone() else { return Ok(0) };
        tokio::task::spawn_blocking(move || ingest.close()).await.map_err(|_| PluginError::WriterGone)?
    }

    /// As [`close`](Self::close), and given up after the writer has made no progress for `patience` since `since`, so that a model
    /// or a disk that hangs does not keep the process from ending. A last commit that makes progress is waited for.
    ///
    /// # Errors
    /// As [`close`](Self::close), and [`ServeError::WriterStuck`].
    pub async fn close_within(&self, since: Instant, patience: Duration) -> Result<u64, ServeError> {
        let Some(ingest) = self.0.ingest.clone() else { return Ok(0) };
        let close = move || ingest.close_within(since, patience);
        tokio::task::spawn_blocking(close).await.map_err(|_| PluginError::WriterGone)?
    }

    /// The state of the writer; `None` if there is no writer.
    pub(crate) fn state(&self) -> Option<WriterState> {
        self.0.ingest.as_ref().map(|ingest| ingest.state())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.options.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn description(&self) -> &OnceLock<Bytes> {
        &self.0.description
    }

    /// Documents and deletions that wait for a commit.
    pub(crate) fn waiting(&self) -> u64 {
        self.0.ingest.as_ref().map_or(0, |ingest| ingest.waiting())
    }

    /// Runs a task that needs a processor on a thread of its own, not on those that serve clients.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = blocking(&self.0.compute, task).await;
        *self.0.short.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        done
    }

    /// Waits for a turn to do a piece of something long, and does it. When the client leaves, no further piece is begun.
    pub(crate) async fn work_long<T: Send + 'static>(
        &self,
        due: Instant,
        piece: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn: Turn = self.0.turns.take(due).await;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until the piece is done, also where the client has gone away.
            let _turn = turn;
            piece()
        });
        done.await.map_err(ApiError::backend)
    }

    /// Cores that the next piece of long work is for: one is left to short requests while there are any.
    pub(crate) fn lanes(&self) -> usize {
        let most = self.0.cores.min(MOST_LANES);
        let last = *self.0.short.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = self.0.compute.available_permits() == self.0.cores && last.elapsed() > QUIET;
        if is_quiet { most } else { most.saturating_sub(1).max(1) }
    }

    /// Does something with the writer, which may wait.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Ingest) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let ingest = self.0.ingest.clone().ok_or_else(ApiError::read_only)?;
        blocking(&self.0.writing, move || task(&ingest)).await?
    }
}

async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(|_| ApiError::stopping())?;
    let done = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, also where the client has gone away.
        let _permit = permit;
        task()
    });
    done.await.map_err(ApiError::backend)
}
