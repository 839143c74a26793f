//! A connection as its server sees it: whose turn it is, and since when.
//!
//! A client that sends nothing, reads nothing or does both a byte at a time costs a connection, so the time that a connection
//! waits for its client is bounded. What counts is progress: [`STEP`] bytes in either direction, or the end of a request or an
//! answer. One task looks at all connections every [`LOOK`]; a full server closes the connection that has waited longest.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use axum::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// Bytes that count as progress.
pub(crate) const STEP: usize = 4 << 10;
/// Between two looks at all connections.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// After this wait for its client, a connection may be closed in favour of a new one, if all connections are taken.
const GIVES_WAY: Duration = Duration::from_secs(1);
/// A client that stopped sending while its request is worked on is asked after this time whether it still listens, and again after
/// as much.
const ASKED_AFTER: Duration = Duration::from_millis(500);
/// How long a connection is read from after its last answer, for a client that is still sending: closing earlier would destroy the
/// answer on its way.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read then, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// One connection, shared by those who serve it and those who watch it.
pub(crate) struct Link {
    stream: TcpStream,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// Whether a request is worked on, so that the client has nothing to do but wait.
    working: bool,
    /// When the last progress was.
    since: Instant,
    /// Bytes since then.
    moved: usize,
    /// Whether all that was to be sent is with the operating system.
    flushed: bool,
    /// Whether the client has sent something that no request has taken.
    unread: bool,
    /// Whether a request was answered before all of it was read.
    refused: bool,
    /// Whether the client understands interim answers.
    interim: bool,
    /// When the client was seen to have stopped sending, or last asked.
    asked: Option<Instant>,
}

impl State {
    fn progress(&mut self) {
        self.since = Instant::now();
        self.moved = 0;
    }

    fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= STEP {
            self.progress();
        }
    }
}

impl Link {
    pub(crate) fn new(stream: TcpStream) -> Arc<Self> {
        let state = State {
            working: false,
            since: Instant::now(),
            moved: 0,
            flushed: true,
            unread: false,
            refused: false,
            interim: false,
            asked: None,
        };
        Arc::new(Self { stream, state: Mutex::new(state), ended: Notify::new() })
    }

    /// The connection as a stream of bytes. There is one for each link.
    pub(crate) fn socket(self: &Arc<Self>) -> Socket {
        Socket { link: Arc::clone(self), is_at_end: false, linger: None, discarded: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a request was read up to its body; until the result is dropped, it is the server's turn.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> Turn {
        let mut state = self.state();
        state.progress();
        state.working = true;
        state.unread = false;
        state.interim = version >= Version::HTTP_11;
        state.asked = None;
        Turn(Arc::clone(self))
    }

    /// Says that the request that is worked on waits for more of its body, or that it no longer does.
    pub(crate) fn waits_for_client(&self, waits: bool) {
        let mut state = self.state();
        state.working = !waits;
        state.progress();
    }

    /// Says that the client may be sending something that nobody will read: the connection is not closed before it has had the
    /// time to read its answer.
    pub(crate) fn leaves_unread(&self) {
        self.state().refused = true;
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn end(&self) {
        // What the client has not taken so far it will not take, and need not be kept for it.
        let _ = self.stream.set_zero_linger();
        self.ended.notify_one();
    }

    /// For how long the client has been waited for.
    fn waited(&self) -> Option<Duration> {
        let state = self.state();
        (!state.working).then(|| state.since.elapsed())
    }

    /// Whether the client has closed its side for good while its request is worked on.
    ///
    /// A client that has stopped sending may still listen (`nc -N`), or not; its system tells only when it is sent something. So it is
    /// sent an interim answer, which every client of HTTP/1.1 ignores.
    fn has_left(&self) -> bool {
        let mut state = self.state();
        if !state.working || state.since.elapsed() < LOOK {
            return false;
        }
        let Some(ready) = self.readiness() else { return false };
        if ready.is_write_closed() || ready.is_error() {
            return true;
        }
        if !ready.is_read_closed() {
            return false;
        }
        match state.asked {
            None => state.asked = Some(Instant::now()),
            Some(asked) if asked.elapsed() >= ASKED_AFTER && state.flushed && state.interim => {
                const QUESTION: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
                state.asked = Some(Instant::now());
                // Half a line must not stand before the answer.
                return self.stream.try_write(QUESTION).ok() != Some(QUESTION.len());
            }
            Some(_) => {}
        }
        false
    }

    /// What the operating system has said of the connection so far.
    fn readiness(&self) -> Option<tokio::io::Ready> {
        let ready = pin!(self.stream.ready(Interest::READABLE | Interest::WRITABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ready) => ready.ok(),
            Poll::Pending => None,
        }
    }
}

/// While it lives, it is the server's turn.
pub(crate) struct Turn(Arc<Link>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.working = false;
        state.unread = false;
        state.progress();
    }
}

/// All connections of a server. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Links(Arc<Mutex<Listed>>);

#[derive(Default)]
struct Listed {
    next: u64,
    links: HashMap<u64, Arc<Link>>,
}

/// Takes a connection off the list when it is dropped.
pub(crate) struct LinkGuard {
    links: Links,
    number: u64,
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.links.listed().links.remove(&self.number);
    }
}

impl Links {
    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, link: Arc<Link>) -> LinkGuard {
        let mut listed = self.listed();
        let number = listed.next;
        listed.next += 1;
        listed.links.insert(number, link);
        LinkGuard { links: self.clone(), number }
    }

    /// Closes connections whose clients made no progress for this long, and those whose clients are gone.
    pub(crate) fn look(&self, patience: Duration) {
        for link in self.listed().links.values() {
            if link.waited().is_some_and(|waited| waited > patience) || link.has_left() {
                link.end();
            }
        }
    }

    /// Closes the connection that has waited longest for its client, if one has for [`GIVES_WAY`].
    pub(crate) fn close_slowest(&self) {
        let listed = self.listed();
        let waited = listed.links.values().filter_map(|link| Some((link.waited()?, link)));
        if let Some((_, link)) = waited.filter(|(waited, _)| *waited >= GIVES_WAY).max_by_key(|(waited, _)| *waited) {
            link.end();
        }
    }

    /// Closes all.
    pub(crate) fn end(&self) {
        self.listed().links.values().for_each(|link| link.end());
    }
}

/// A [`Link`] as hyper reads and writes it.
pub(crate) struct Socket {
    link: Arc<Link>,
    /// Whether the client has sent its last byte.
    is_at_end: bool,
    linger: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

impl Socket {
    fn read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_read_ready(context))?;
            match self.link.stream.try_read(into) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) => {
                    self.is_at_end = count == 0 && !into.is_empty();
                    let mut state = self.link.state();
                    state.moved(count);
                    // Until a request has taken it.
                    state.unread |= count > 0;
                    return Poll::Ready(Ok(count));
                }
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_write_ready(context))?;
            // Held while it writes, so that no other write comes in between.
            let mut state = self.link.state();
            state.flushed = false;
            match write(&self.link.stream) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) => {
                    state.moved(count);
                    return Poll::Ready(Ok(count));
                }
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(self.read(context, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write(buffer))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.state();
        if !state.flushed {
            state.flushed = true;
            // The end of an answer.
            state.progress();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            socket2::SockRef::from(&self.link.stream).shutdown(std::net::Shutdown::Write)?;
            let state = self.link.state();
            if self.is_at_end || !(state.unread || state.refused) {
                return Poll::Ready(Ok(()));
            }
            drop(state);
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        let mut buffer = [0; 16 << 10];
        while !self.is_at_end && self.discarded < LINGER_BYTES {
            if self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(context).is_ready()) {
                break;
            }
            // A connection that is broken need not be waited for.
            let Ok(count) = ready!(self.read(context, &mut buffer)) else { break };
            self.discarded += count;
        }
        Poll::Ready(Ok(()))
    }
}
