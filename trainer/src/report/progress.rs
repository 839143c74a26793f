//! Progress on standard error: a bar with time left on a terminal, a plain line every so often elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Seconds between two plain lines.
const QUIET: Duration = Duration::from_secs(15);

/// Prints a line to standard error. Nothing is the matter where its reader has left (`adam-train run ... 2>&1 | tee log` and Ctrl-C,
/// which ends `tee` first): what is under way goes on.
pub fn tell(text: &str) {
    // In one piece, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Says what a run does.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    silent: bool,
}

impl Reporter {
    /// One that writes to standard error.
    pub fn new() -> Self {
        Self { silent: false }
    }

    /// One that says nothing, for tests and embedding programs.
    pub fn silent() -> Self {
        Self { silent: true }
    }

    /// A line.
    pub fn say(&self, text: &str) {
        if !self.silent {
            tell(text);
        }
    }

    /// A bar of `total` units.
    pub fn bar(&self, name: &str, total: usize, start: usize) -> Bar {
        let terminal = std::io::stderr().is_terminal() && !self.silent;
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:32}] {pos}/{len}  {msg}  left {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        bar.set_position(start as u64);
        bar.reset_eta();
        Bar {
            bar,
            name: name.to_owned(),
            total,
            start,
            done: start,
            plain: !terminal && !self.silent,
            began: Instant::now(),
            said: Instant::now(),
            message: String::new(),
        }
    }
}

/// A bar; it goes away when dropped.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    name: String,
    total: usize,
    start: usize,
    done: usize,
    plain: bool,
    began: Instant,
    said: Instant,
    message: String,
}

impl Bar {
    /// So many more are done.
    pub fn add(&mut self, count: usize) {
        self.set(self.done + count);
    }

    /// So many are done in all.
    pub fn set(&mut self, done: usize) {
        self.done = done;
        self.bar.set_position(done as u64);
        if self.plain && (self.said.elapsed() >= QUIET || done >= self.total) && done > self.start {
            self.said = Instant::now();
            let per_unit = self.began.elapsed().as_secs_f64() / (done - self.start) as f64;
            let left = per_unit * self.total.saturating_sub(done) as f64;
            let text = format!("{:>10} {done}/{}  {}  left {}", self.name, self.total, self.message, clock(left));
            tell(&text);
        }
    }

    /// What stands beside the bar.
    pub fn message(&mut self, text: String) {
        self.bar.set_message(text.clone());
        self.message = text;
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Seconds as `1:02:03` or `2:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let all = seconds.clamp(0.0, 1e9) as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
