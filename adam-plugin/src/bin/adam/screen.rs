//! What people see: progress on standard error, tables on standard output.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
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
            eprintln!("{}: {done} of {} {message}", self.name, self.total);
        }
    }

    pub(crate) fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        eprintln!("{}: {message}", self.name);
    }
}

/// A table: bold head and borders on a terminal, plain columns elsewhere. Columns but the first are numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let terminal = std::io::stdout().is_terminal();
    let mut table = Table::new();
    table.load_style(if terminal { presets::UTF8_HORIZONTAL_ONLY } else { presets::NOTHING });
    table.set_header(head.iter().map(|title| {
        let cell = Cell::new(title);
        if terminal { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
