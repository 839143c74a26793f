//! Output for people: progress on standard error, tables on standard output.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adam_plugin::WriterSettings;
use anyhow::{Result, bail};
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A bar on a terminal, else a line from time to time.
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
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:32}] {pos}/{len}  {rate}  left {eta}  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&rate(state.per_sec()));
        }));
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

/// So many a second, with no more digits than mean something.
fn rate(each_second: f64) -> String {
    if each_second < 10.0 { format!("{each_second:.1}/s") } else { format!("{each_second:.0}/s") }
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

    /// Number of documents so far that were unchanged.
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

/// Whether a character shows nothing itself and changes how a terminal shows others: a control character, a mark of direction, a
/// separator of lines, a tag. The joiners of Persian and of emoji (U+200C, U+200D) are letters to their readers, and stay.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// Text as a terminal may show it: without characters that steer it. Lines stay lines.
fn clean(text: &str) -> String {
    let kept = |character: char| match character {
        '\n' => Some('\n'),
        '\u{2028}' | '\u{2029}' => Some(' '),
        other if other.is_control() => Some(' '),
        other => (!steers(other)).then_some(other),
    };
    text.chars().filter_map(kept).collect()
}

/// Text of a document or of a name in it, as a terminal may show it: on one line, and without characters that steer it.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// A number of things, as in `1 hit` and `2 queries`.
pub(crate) fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {thing}s"),
    }
}

/// Prints a message to standard error, where further lines stand in from the first: whatever a name or text in it holds looks like no
/// message of its own. Nothing is the matter where the reader has left (`adam serve 2>&1 | tee log` and Ctrl-C): what is under way goes on.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text).replace('\n', "\n  "));
}

/// Standard error for logs, which hold text of documents: the log's own colours pass, marks of direction and their like do not.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.replace(|character: char| steers(character) && !character.is_ascii(), "");
        std::io::stderr().write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
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

/// What clap says of a value in Rust's words, in ours.
const WORDS: [(&str, &str); 5] = [
    ("invalid digit found in string", "it is not a whole number"),
    ("cannot parse integer from empty string", "it is empty, and not a whole number"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("invalid float literal", "it is not a number"),
];

/// Prints what clap has to say: help to standard output, errors to standard error.
pub(crate) fn show(error: &clap::Error) {
    if error.kind() != clap::error::ErrorKind::ValueValidation {
        let _ = error.print();
        return;
    }
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut text = if coloured { error.render().ansi().to_string() } else { error.render().to_string() };
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Refuses a file in a folder that is not there, before the work that would be lost with it.
pub(crate) fn has_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => bail!("{} cannot be written: there is no folder {}", path.display(), folder.display()),
        None => Ok(()),
    }
}

/// Prints text for people to standard output, without characters that steer a terminal. That the reader has seen enough and left
/// (`adam info ... | head -1`) comes back as an error that [`is_broken_pipe`] knows, and that ends the program as if all had been read.
pub(crate) fn say(text: &str) -> Result<()> {
    say_exactly(&clean(text))
}

/// As [`say`], character by character: what holds our own colours, with all else in it made harmless by [`one_line`].
pub(crate) fn say_exactly(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a value as JSON. Characters that would steer a terminal are escaped, which to a reader of JSON is the same.
pub(crate) fn say_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let mut out = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if steers(character) && character != '\n' {
            let mut units = [0; 2];
            character.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    out.push('\n');
    say_exactly(&out)
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
            let cell = Cell::new(one_line(text));
            if first { cell.fg(Color::Green).add_attribute(Attribute::Bold) } else { cell }
        }));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_shown() {
        for mark in [
            '\u{1b}',
            '\u{7}',
            '\r',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e0001}',
            '\u{e0041}',
        ] {
            let text = format!("a{mark}b\nc{mark}");
            assert!(!clean(&text).contains(mark) && clean(&text).contains('\n'), "{mark:?}");
            assert!(!one_line(&text).contains([mark, '\n']), "{mark:?}");
        }
        // Letters of every script, their joiners, accents that are characters of their own, and pictures are text.
        for text in [
            "crows",
            "\u{646}\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "cafe\u{301}",
            "\u{1f468}\u{200d}\u{1f33e}",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        ] {
            assert_eq!(one_line(text), text);
        }
    }

    #[test]
    fn numbers_and_their_things_agree() {
        assert_eq!(counted(1u64, "hit"), "1 hit");
        assert_eq!(counted(0u64, "hit"), "0 hits");
        assert_eq!(counted(2usize, "query"), "2 queries");
        assert_eq!(counted(1usize, "query"), "1 query");
        assert_eq!((rate(142.2289), rate(2.71)), ("142/s".to_owned(), "2.7/s".to_owned()));
    }
}
