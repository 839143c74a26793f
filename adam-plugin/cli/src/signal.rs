//! Signals that end a command: Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which comes when a terminal closes.
//!
//! Every command handles them, because the kernel drops signals that process 1 does not handle, and `adam` is process 1 in many a
//! container. A command that has something to save registers a [`Stop`]; any other ends at once. The exit code is 128 and the
//! signal's number, as shells have it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::screen::tell;

/// Signals within this time count as one: `timeout` sends one to a process and to its group, so that it comes twice.
const ONE_SIGNAL: Duration = Duration::from_millis(300);

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    number: u8,
    pub(crate) name: &'static str,
}

const INTERRUPT: Signal = Signal { number: 2, name: "SIGINT" };
#[cfg(unix)]
const SIGNALS: [Signal; 3] = [Signal { number: 1, name: "SIGHUP" }, INTERRUPT, Signal { number: 15, name: "SIGTERM" }];

impl Signal {
    /// Exit code of a command that it ended.
    pub(crate) fn code(self) -> u8 {
        128 + self.number
    }
}

/// The error of a command that a signal stopped after it had saved its work.
#[derive(Debug)]
pub(crate) struct Interruption {
    pub(crate) signal: Signal,
    /// What is saved, and how to continue.
    pub(crate) message: String,
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Interruption {}

/// What the next signal does.
enum Next {
    /// Ends the program.
    End,
    /// Asks the command to stop.
    Ask(Box<dyn FnOnce(Signal) + Send>, &'static str),
    /// Ends the program, which has been stopping since then, and says this.
    EndStopping(Instant, &'static str),
}

static NEXT: Mutex<Next> = Mutex::new(Next::End);

fn next() -> MutexGuard<'static, Next> {
    NEXT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command that finishes what it has begun when a signal comes, until this is dropped. A second signal ends the program at once.
pub(crate) struct Stop(Arc<OnceLock<Signal>>);

impl Stop {
    /// Prints `first` at the first signal, and `again` at the second.
    pub(crate) fn new(first: &'static str, again: &'static str) -> Self {
        Self::with(move |_| tell(first), again)
    }

    /// Calls `first` at the first signal, and prints `again` at the second.
    pub(crate) fn with(first: impl FnOnce(Signal) + Send + 'static, again: &'static str) -> Self {
        let came = Arc::new(OnceLock::new());
        let flag = Arc::clone(&came);
        let first = move |signal| {
            let _ = flag.set(signal);
            first(signal);
        };
        *next() = Next::Ask(Box::new(first), again);
        Self(came)
    }

    /// The signal, if one came.
    pub(crate) fn signal(&self) -> Option<Signal> {
        self.0.get().copied()
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        *next() = Next::End;
    }
}

fn came(signal: Signal) {
    let mut next = next();
    match std::mem::replace(&mut *next, Next::End) {
        Next::Ask(ask, again) => {
            *next = Next::EndStopping(Instant::now(), again);
            drop(next);
            ask(signal);
        }
        Next::EndStopping(since, again) if since.elapsed() < ONE_SIGNAL => *next = Next::EndStopping(since, again),
        Next::EndStopping(_, again) => {
            tell(again);
            end(signal);
        }
        Next::End => end(signal),
    }
}

/// Without the destructors of libraries whose threads are at work.
#[cfg(unix)]
fn end(signal: Signal) {
    signal_hook::low_level::exit(signal.code().into());
}

#[cfg(not(unix))]
fn end(signal: Signal) {
    std::process::exit(signal.code().into());
}

/// Handles signals from here on.
#[cfg(unix)]
pub(crate) fn listen() -> Result<()> {
    let ignored = ignored();
    let numbers = SIGNALS.iter().filter(|signal| ignored & (1 << (signal.number - 1)) == 0);
    let mut signals = signal_hook::iterator::Signals::new(numbers.map(|signal| i32::from(signal.number)))
        .context("signals cannot be handled")?;
    let wait = move || {
        for number in signals.forever() {
            SIGNALS.into_iter().filter(|signal| i32::from(signal.number) == number).for_each(came);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("starting the thread for signals")?;
    Ok(())
}

/// Signals that whoever started the program wants ignored, as `nohup` does, one bit each.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default()
}

/// Handles Ctrl-C from here on.
#[cfg(not(unix))]
pub(crate) fn listen() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("signals cannot be handled")?;
    let wait = move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                came(INTERRUPT);
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("starting the thread for signals")?;
    Ok(())
}
