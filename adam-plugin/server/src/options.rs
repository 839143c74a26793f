//! How a service works.

use std::time::Duration;

use adam_plugin::OnFailure;

use crate::error::ServeError;
use crate::limits::Limits;

/// How a [`Service`](crate::Service) works. [`Default`] suits one index on a machine of its own.
#[derive(Clone)]
pub struct ServiceOptions {
    pub(crate) limits: Limits,
    pub(crate) api_key: Option<String>,
    pub(crate) commit_every: Option<Duration>,
    pub(crate) on_failure: OnFailure,
    pub(crate) batch: usize,
    pub(crate) memory: usize,
    pub(crate) hosts: Vec<String>,
    pub(crate) read_only: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            api_key: None,
            commit_every: Some(Duration::from_secs(5)),
            on_failure: OnFailure::TextOnly,
            batch: 64,
            memory: 128 << 20,
            hosts: Vec::new(),
            read_only: false,
        }
    }
}

// By hand, so that the key does not get into a log.
impl std::fmt::Debug for ServiceOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServiceOptions")
            .field("limits", &self.limits)
            .field("api_key", &self.api_key.as_ref().map(|_| "..."))
            .field("commit_every", &self.commit_every)
            .field("on_failure", &self.on_failure)
            .field("batch", &self.batch)
            .field("memory", &self.memory)
            .field("hosts", &self.hosts)
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl ServiceOptions {
    /// Sizes, numbers and times.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A key that requests must carry, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. The page, `/health`, `/ready` and
    /// `/openapi.json` are open without it. Default: none.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<Option<String>>) -> Self {
        self.api_key = key.into();
        self
    }

    /// How often accepted documents are committed without being asked; `None`: only when a client asks, and at the end.
    /// Default: 5 s.
    #[must_use]
    pub fn commit_every(mut self, pause: impl Into<Option<Duration>>) -> Self {
        self.commit_every = pause.into();
        self
    }

    /// What happens to a document that the model cannot embed: [`OnFailure::TextOnly`] (default) or [`OnFailure::Skip`].
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// Documents that go to the model together. Default: 64.
    #[must_use]
    pub fn batch(mut self, documents: usize) -> Self {
        self.batch = documents;
        self
    }

    /// Memory of the index writer, in bytes. Default: 128 MiB.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Names that a [`Server`](crate::Server) without a key answers to at loopback, beside `localhost` and addresses, and whose pages
    /// may write through it; for a proxy in front of it that passes its own name on. Default: none.
    #[must_use]
    pub fn hosts<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.hosts = names.into_iter().map(Into::into).collect();
        self
    }

    /// Answers searches and embeddings only; another program may write to the index. Default: false.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let refuse = |name, problem: &str| Err(ServeError::Setting { name, problem: problem.to_owned() });
        self.limits.check()?;
        if self.api_key.as_deref().is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return refuse("api_key", "must be visible ASCII characters without spaces, one at least");
        }
        if self.commit_every.is_some_and(|every| every < Duration::from_millis(10)) {
            return refuse("commit_every", "must be 10 ms at least");
        }
        if self.on_failure == OnFailure::Fail {
            return refuse(
                "on_failure",
                "cannot be `fail` here: one bad text would discard documents of other clients",
            );
        }
        Ok(())
    }
}
