//! The server: accepts connections until it is to stop, then ends without losing anything.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::error::ServeError;
use crate::link::{self, Link, Links};
use crate::state::Service;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// What the operating system keeps of an answer for a client that is slow to read, in bytes; Linux doubles it.
const SEND_BUFFER: usize = 256 << 10;
/// How long to wait when no connection can be accepted, as where the process has too many files open.
const PAUSE: Duration = Duration::from_millis(50);
/// Time that a stopping server gives a client that makes no progress.
const PATIENCE_AT_END: Duration = Duration::from_secs(2);

/// The least that the last commit gets for one step, such as a batch in the model.
const PATIENCE: Duration = Duration::from_secs(5);

/// A [`Service`] at an address.
pub struct Server {
    listener: TcpListener,
    service: Service,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Documents and deletions that were accepted and waited for a commit; they are committed now.
    pub committed: u64,
    /// Whether requests were still running when the time for them was over.
    pub cut_off: bool,
}

impl Server {
    /// Listens at an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is not available.
    pub async fn bind(service: Service, address: impl ToSocketAddrs + std::fmt::Display) -> Result<Self, ServeError> {
        let fault = |source| ServeError::system(format!("listen at {address}"), source);
        let listener = TcpListener::bind(&address).await.map_err(fault)?;
        Ok(Self { listener, service })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener.local_addr().map_err(|source| ServeError::system("tell the address of the socket", source))
    }

    /// Serves until `stop` is done. Then it accepts no more connections, gives requests that are running `grace` to finish,
    /// commits everything that was accepted, and waits for merges. A writer that makes no progress for `grace` (five seconds at
    /// least) is not waited for; its thread goes on until the process ends.
    ///
    /// # Errors
    /// When the last commit fails, or is given up.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Result<StopReport, ServeError> {
        let Self { listener, service } = self;
        let limits = service.limits().clone();
        let router = routes_of(&service, &listener);
        let connections = Arc::new(Semaphore::new(limits.connections));
        let links = Links::default();
        let graceful = GracefulShutdown::new();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MAX_HEAD);
        // Who stops sending may still listen.
        http.half_close(true);
        let (patience, patiently) = watch::channel(limits.head_time + link::LOOK);
        let watcher = tokio::spawn(watch_over(links.clone(), patiently));
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let stream = accept(&listener).await;
                (stream, permit(&connections, &links).await)
            };
            let (stream, permit) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            // Answers are short: waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            // Unless told, the system keeps megabytes for each client that does not read.
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
            let link = Link::new(stream);
            let guard = links.add(Arc::clone(&link));
            let connection =
                http.serve_connection(TokioIo::new(link.socket()), handler(router.clone(), Arc::clone(&link)));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _held = (permit, guard);
                // Dropped with the connection is the work for its request.
                tokio::select! {
                    done = connection => if let Err(fault) = done {
                        tracing::debug!(%fault, "a connection ended badly");
                    },
                    () = link.ended() => tracing::debug!("a connection was closed: its client made no progress, or is gone"),
                }
            });
        }
        drop(listener);
        let told = Instant::now();
        // Who neither reads nor sends holds nobody up.
        let _ = patience.send(PATIENCE_AT_END.min(limits.head_time));
        let cut_off = tokio::time::timeout(grace, graceful.shutdown()).await.is_err();
        links.end();
        watcher.abort();
        let committed = service.close_within(told, grace.max(PATIENCE)).await?;
        Ok(StopReport { committed, cut_off })
    }
}

/// The routes, for those who ask this server by a name of its own and not from another site's page.
fn routes_of(service: &Service, listener: &TcpListener) -> Router {
    let mut router = crate::routes(service.clone());
    if service.options().api_key.is_none() {
        let allowed: Arc<[String]> = service.options().hosts.clone().into();
        router = router.layer(from_fn_with_state(Arc::clone(&allowed), crate::host::same_site));
        if listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback()) {
            router = router.layer(from_fn_with_state(allowed, crate::host::require));
        }
    }
    router.layer(from_fn(crate::intake::drain))
}

/// Hands a connection's requests to the routes, and tells its link when they begin and end.
fn handler(
    router: Router,
    link: Arc<Link>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::response::Response, Infallible>> + Send,
> {
    let routes = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        let turn = link.begin(request.version());
        request.extensions_mut().insert(Arc::clone(&link));
        let answer = routes.call(request);
        async move {
            let answer = answer.await;
            drop(turn);
            answer
        }
    })
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client went away before it was let in.
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(fault) => {
                tracing::warn!(%fault, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A permit for one more connection. Where there is none, the one that has waited longest for its client is closed.
async fn permit(connections: &Arc<Semaphore>, links: &Links) -> Option<OwnedSemaphorePermit> {
    let mut next = pin!(Arc::clone(connections).acquire_owned());
    loop {
        tokio::select! {
            biased;
            permit = &mut next => return permit.ok(),
            () = tokio::time::sleep(PAUSE) => links.close_slowest(),
        }
    }
}

/// Closes connections whose clients make no progress, without end.
async fn watch_over(links: Links, patience: watch::Receiver<Duration>) {
    let mut clock = tokio::time::interval(link::LOOK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let patience = *patience.borrow();
        links.look(patience);
    }
}
