//! A server of its own: accepts connections until it is told to stop, then ends without losing anything.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::Semaphore;

use super::state::Service;
use crate::error::PluginError;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// How long to wait when no connection can be accepted, as where the process has too many files open.
const PAUSE: Duration = Duration::from_millis(50);

/// The least that the last commit gets for one step, such as a batch in the model.
const PATIENCE: Duration = Duration::from_secs(5);

/// A [`Service`] at an address.
pub struct Server {
    listener: TcpListener,
    service: Service,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Documents and deletions that were accepted and waited for a commit; they are committed now.
    pub committed: u64,
    /// Whether requests were still running when the time for them was over.
    pub cut_off: bool,
}

impl Server {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(service: Service, address: impl ToSocketAddrs + std::fmt::Display) -> Result<Self, PluginError> {
        let fault = |source| PluginError::io("listen at", address.to_string(), source);
        let listener = TcpListener::bind(&address).await.map_err(fault)?;
        Ok(Self { listener, service })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> Result<SocketAddr, PluginError> {
        self.listener.local_addr().map_err(|source| PluginError::io("tell the address of", "the socket", source))
    }

    /// Serves until `stop` is done. Then it accepts no more connections, gives requests that are running `grace` to finish,
    /// commits everything that was accepted, and waits for merges. A writer that gets nothing done for `grace` (five seconds at
    /// least) is not waited for; its thread goes on until the process ends.
    ///
    /// # Errors
    /// When the last commit fails, or is given up.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Result<Stopped, PluginError> {
        let Self { listener, service } = self;
        let limits = service.limits().clone();
        let mut router = super::router(service.clone());
        let own = listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        if own && service.options().api_key.is_none() {
            let allowed: Arc<[String]> = service.options().hosts.clone().into();
            router = router.layer(from_fn_with_state(allowed, super::host::require));
        }
        let connections = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MAX_HEAD);
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let room = Arc::clone(&connections).acquire_owned().await;
                (room, listener.accept().await)
            };
            let (room, accepted) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                // The client went away before it was let in.
                Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Answers are short: waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _room = room;
                if let Err(fault) = connection.await {
                    tracing::debug!(%fault, "a connection ended badly");
                }
            });
        }
        drop(listener);
        let told = Instant::now();
        let cut_off = tokio::time::timeout(grace, graceful.shutdown()).await.is_err();
        let committed = service.close_within(told, grace.max(PATIENCE)).await?;
        Ok(Stopped { committed, cut_off })
    }
}
