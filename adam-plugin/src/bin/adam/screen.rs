//! What people see: progress on standard error, tables on standard output.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adam_plugin::WriterSettings;
use anyhow::{Result, bail};
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on a terminal, a line every so often elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    name: String,
    total: u64,
    plain: bool,
    said: std::time::Instant,
}

/// Between two plain lines.
const QUIET: Duration = Duration::from_secs(15);

impl Progress {
    pub(crate) fn new(name: &str, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:32}] {pos}/{len}  {per_sec}  left {eta}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        Self { bar, name: name.to_owned(), total, plain: !terminal, said: std::time::Instant::now() }
    }

    pub(crate) fn set(&mut self, done: u64, message: &str) {
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
        if self.plain && self.said.elapsed() >= QUIET {
            self.said = std::time::Instant::now();
            tell(&format!("{}: {done} of {} {message}", self.name, self.total));
        }
    }

    pub(crate) fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        tell(&format!("{}: {message}", self.name));
    }
}

/// A bar that a writer moves from its own thread.
pub(crate) struct WriterProgress {
    bar: Arc<Mutex<Progress>>,
    unchanged: Arc<AtomicU64>,
}

impl WriterProgress {
    pub(crate) fn new(name: &str, total: u64) -> Self {
        Self { bar: Arc::new(Mutex::new(Progress::new(name, total))), unchanged: Arc::default() }
    }

    /// The settings of the writer that is to move the bar.
    pub(crate) fn watch(&self, settings: WriterSettings) -> WriterSettings {
        let (bar, unchanged) = (Arc::clone(&self.bar), Arc::clone(&self.unchanged));
        settings.progress(move |progress| {
            unchanged.store(progress.unchanged, Ordering::Relaxed);
            let message =
                if progress.unchanged > 0 { format!("{} unchanged", progress.unchanged) } else { String::new() };
            bar.lock().unwrap_or_else(PoisonError::into_inner).set(progress.documents, &message);
        })
    }

    /// Documents so far that were there already.
    pub(crate) fn unchanged(&self) -> u64 {
        self.unchanged.load(Ordering::Relaxed)
    }

    /// Takes the bar away and says what was done; the writer must be gone.
    pub(crate) fn finish(self, message: &str) {
        if let Ok(bar) = Arc::try_unwrap(self.bar) {
            bar.into_inner().unwrap_or_else(PoisonError::into_inner).finish(message);
        }
    }
}

/// Text of a document as a terminal may show it: on one line, and without characters that steer it.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Prints a line to standard error. Nothing is the matter where its reader has left (`adam serve 2>&1 | tee log` and Ctrl-C): what is
/// under way goes on.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error with its causes, each said once: many a message holds that of its cause already.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Refuses a file in a folder that is not there, before the work that would be lost with it.
pub(crate) fn has_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => bail!("{} cannot be written: there is no folder {}", path.display(), folder.display()),
        None => Ok(()),
    }
}

/// Prints to standard output. That the reader has seen enough and left (`adam search ... | head -1`) comes back as an error
/// that [`is_broken_pipe`] knows, and that ends the program as if all had been read.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Whether standard output shows colours: a terminal whose user has not asked for none (<https://no-color.org>).
pub(crate) fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table: a coloured head, borders, and the best of every column marked on a terminal, plain columns elsewhere. Columns but
/// the first are numbers, of which the highest is the best.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let terminal = coloured();
    let mut table = Table::new();
    table.load_style(if terminal { presets::UTF8_HORIZONTAL_ONLY } else { presets::NOTHING });
    table.set_header(head.iter().map(|title| {
        let cell = Cell::new(title);
        if terminal { cell.add_attribute(Attribute::Bold).fg(Color::Cyan) } else { cell }
    }));
    let number = |text: &String| text.parse::<f64>().ok();
    let best: Vec<Option<f64>> =
        (0..head.len()).map(|column| rows.iter().filter_map(|row| number(row.get(column)?)).reduce(f64::max)).collect();
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(column, text)| {
            let first =
                terminal && column > 0 && rows.len() > 1 && number(text).is_some() && number(text) == best[column];
            let cell = Cell::new(text);
            if first { cell.fg(Color::Green).add_attribute(Attribute::Bold) } else { cell }
        }));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
