//! A collection: documents, queries and judgements, wherever they lie.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elements::Entries;
use crate::error::{BeirError, Place};
use crate::layout::{CORPUS, Entry, Layout, QUERIES, expand};
use crate::options::{Keep, OnWrongLine, ReadOptions};
use crate::qrels::{self, Judgements, Qrels};
use crate::record::{self, Document, Fault, Query, QueryRecord, Record};
use crate::wrong::{WrongLine, WrongLines};

/// Names that [`Summary::unread`] keeps, however many a file makes up.
const MAX_UNREAD: usize = 20;

/// A collection of documents, queries and judgements in BEIR layout.
///
/// ```text
/// NAME/corpus.jsonl      {"_id": "...", "title": "...", "text": "..."} a line
/// NAME/queries.jsonl     {"_id": "...", "text": "..."} a line
/// NAME/qrels/test.tsv    query-id TAB corpus-id TAB score, with or without a header; or TREC's four columns
/// ```
///
/// It may be that folder, a zip that holds it (in a folder of its own or at its root), or files with documents only. Each file
/// may be packed by gzip, bzip2 or Zstandard. Records stand one a line or in one JSON array, in UTF-8 or, with a byte order
/// mark, in UTF-16. Nothing is unpacked to disk; documents are read as a stream. What comes from a pipe is kept in a temporary
/// file, so that it can be read more than once.
#[derive(Debug, Clone)]
pub struct Collection {
    path: PathBuf,
    name: String,
    layout: Arc<Layout>,
    options: ReadOptions,
}

impl Collection {
    /// Opens a collection with the default options. Reads names only; faults within the files come when they are read.
    ///
    /// # Errors
    /// When nothing is there, it holds neither corpus nor queries nor judgements, or it is a zip that breaks off or could do
    /// harm.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BeirError> {
        Self::open_with(&[path], &ReadOptions::default())
    }

    /// Opens several folders, zips and files as one collection: all their documents are its corpus. A path may be a pattern
    /// such as `data/*.jsonl.gz`, or `-` for standard input.
    ///
    /// # Errors
    /// As [`open`](Self::open), of each path.
    pub fn open_with(paths: &[impl AsRef<Path>], options: &ReadOptions) -> Result<Self, BeirError> {
        let Some(path) = paths.first().map(|path| path.as_ref().to_path_buf()) else {
            return Err(BeirError::NotACollection { path: PathBuf::new(), problem: "no path is given".to_owned() });
        };
        let mut expanded = Vec::new();
        for path in paths {
            expanded.extend(expand(path.as_ref())?);
        }
        if expanded.iter().filter(|path| *path == Path::new("-")).count() > 1 {
            let problem = "standard input (-) is named twice".to_owned();
            return Err(BeirError::NotACollection { path, problem });
        }
        let mut layout = Layout::default();
        layout.add_files(&expanded)?;
        let name = name_of(expanded.first().unwrap_or(&path));
        Ok(Self { name, path, layout: Arc::new(layout), options: options.clone() })
    }

    /// The folder's or file's name without its extension; of several, the first one's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was opened; of several paths the first.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there are documents.
    pub fn has_corpus(&self) -> bool {
        !self.layout.corpora.is_empty()
    }

    /// Whether there are queries.
    pub fn has_queries(&self) -> bool {
        !self.layout.queries.is_empty()
    }

    /// The names of the judgement files, `train` for `qrels/train.tsv`, in alphabetical order.
    pub fn splits(&self) -> Vec<String> {
        self.layout.splits.keys().cloned().collect()
    }

    /// The documents, in the order of the files, one at a time.
    ///
    /// # Errors
    /// When there is no corpus, or it cannot be opened. Each item is an error where its line is not a usable record or bears
    /// an id seen before; the iterator ends after its first error. With [`OnWrongLine::Skip`] such lines are left out, and
    /// errors are what keeps the rest of the file from being read.
    pub fn documents(&self) -> Result<Documents, BeirError> {
        Ok(Documents(self.stream(record::document)?))
    }

    /// The documents with their metadata, as [`documents`](Self::documents).
    ///
    /// # Errors
    /// As [`documents`](Self::documents).
    pub fn records(&self) -> Result<Records, BeirError> {
        Ok(Records(self.stream(record::record)?))
    }

    fn stream<T>(&self, parse: Parse<T>) -> Result<Stream<T>, BeirError> {
        let entries = self.entries(&self.layout.corpora, CORPUS)?;
        Stream::open(entries, SeenIds::new("document"), parse, self.options.clone())
    }

    /// The queries, in the order of the file. Those without text are left out and listed.
    ///
    /// # Errors
    /// When there is no file of queries, a line is not a usable record, or an id occurs twice.
    pub fn queries(&self) -> Result<Queries, BeirError> {
        let entries = self.entries(&self.layout.queries, QUERIES)?;
        let mut stream = Stream::open(entries, SeenIds::new("query"), record::query, self.options.clone())?;
        let mut queries = Vec::new();
        let mut without_text = Vec::new();
        let id = |record: &QueryRecord| match record {
            QueryRecord::Usable(query) => query.id.clone(),
            QueryRecord::WithoutText { id } => id.clone(),
        };
        while let Some(read) = stream.next(id) {
            let (record, place) = read?;
            match record {
                QueryRecord::Usable(query) => queries.push(query),
                QueryRecord::WithoutText { id } => {
                    without_text.push(WrongLine { place, problem: format!("query `{id}` has no text") });
                }
            }
        }
        Ok(Queries { queries, without_text, wrong: stream.wrong })
    }

    /// The judgements of a split, `test` for `qrels/test.tsv`, one at a time.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be opened. Each item is an error where its row is malformed; the iterator ends
    /// after its first error, or leaves such rows out and counts them with [`OnWrongLine::Skip`].
    pub fn judgements(&self, split: &str) -> Result<Judgements, BeirError> {
        let Some(entries) = self.layout.splits.get(split) else {
            let splits = self.splits();
            return Err(BeirError::NoFile {
                collection: self.path.display().to_string(),
                file: format!("qrels/{split}.tsv").escape_debug().to_string(),
                hint: Some(if splits.is_empty() {
                    "it has no judgements".to_owned()
                } else {
                    format!("its splits are {}", splits.join(", "))
                }),
            });
        };
        Judgements::open(entries.clone(), self.options.on_wrong_line)
    }

    /// All judgements of a split.
    ///
    /// # Errors
    /// As [`judgements`](Self::judgements), of the file and of each row, and when a pair is judged twice with different grades.
    pub fn qrels(&self, split: &str) -> Result<Qrels, BeirError> {
        qrels::collect(self.judgements(split)?)
    }

    /// Reads the corpus once and counts what is in it. Queries and judgements are not read.
    ///
    /// # Errors
    /// The first fault found, by file and line; and when no document has a title or a text, which means that these fields have
    /// other names.
    pub fn check(&self) -> Result<Summary, BeirError> {
        self.check_with(|_| Ok(()))
    }

    /// As [`check`](Self::check), and a record for which the function given has a problem to tell is a wrong line, too.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_with(&self, mut fits: impl FnMut(&Record) -> Result<(), String>) -> Result<Summary, BeirError> {
        let mut summary = Summary::default();
        if let Keep::Fields(names) = &self.options.keep {
            summary.kept = names.iter().map(|name| (name.clone(), 0)).collect();
        }
        let mut records = self.records()?;
        while let Some(record) = records.next() {
            let record = record?;
            match fits(&record) {
                Ok(()) => summary.add(record),
                Err(problem) => {
                    let wrong = WrongLine { place: record.place, problem };
                    if self.options.on_wrong_line == OnWrongLine::Stop {
                        return Err(BeirError::Line { place: wrong.place, problem: wrong.problem });
                    }
                    records.leave_out(wrong);
                }
            }
        }
        summary.wrong = records.into_wrong_lines();
        if summary.documents > 0 && summary.vectors == 0 && summary.without_text == summary.documents {
            return Err(self.without_texts(&summary));
        }
        Ok(summary)
    }

    fn without_texts(&self, summary: &Summary) -> BeirError {
        let mut fields: Vec<&str> = summary.unread.keys().map(String::as_str).collect();
        fields.sort_unstable();
        let fields = match fields.as_slice() {
            [] => String::new(),
            fields => format!("; its records have the fields {}: name the right one", fields.join(", ")),
        };
        BeirError::NotACollection {
            path: self.path.clone(),
            problem: format!(
                "none of its {} documents has a `{}` or a `{}`{fields}",
                summary.documents,
                self.options.text_name(),
                self.options.title_name()
            ),
        }
    }

    fn entries(&self, entries: &[Entry], file: &str) -> Result<Vec<Entry>, BeirError> {
        if entries.is_empty() {
            return Err(BeirError::NoFile {
                collection: self.path.display().to_string(),
                file: file.to_owned(),
                hint: None,
            });
        }
        Ok(entries.to_vec())
    }
}

/// What [`Collection::check`] counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Documents in the corpus.
    pub documents: usize,
    /// Of these, how many have neither title nor text.
    pub without_text: usize,
    /// How many have a number that is `NaN` or infinite, which is read as null.
    pub non_finite: usize,
    /// How many have a vector.
    pub vectors: usize,
    /// Fields that are not kept, with how many documents have them; at most 20 names.
    pub unread: BTreeMap<String, usize>,
    /// Fields that were asked for by name, with how many documents have them.
    pub kept: BTreeMap<String, usize>,
    /// Lines that were left out.
    pub wrong: WrongLines,
}

impl Summary {
    /// Counts one document.
    pub fn add(&mut self, record: Record) {
        self.documents += 1;
        let document = &record.document;
        self.without_text += usize::from(document.title.trim().is_empty() && document.text.trim().is_empty());
        self.non_finite += usize::from(record.non_finite > 0);
        self.vectors += usize::from(record.vector.is_some());
        for (name, count) in &mut self.kept {
            *count += usize::from(record.metadata.contains_key(name));
        }
        for name in record.unread {
            if self.unread.len() < MAX_UNREAD || self.unread.contains_key(&name) {
                *self.unread.entry(name).or_default() += 1;
            }
        }
    }
}

/// The queries that can be asked, and those that cannot. See [`Collection::queries`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queries {
    queries: Vec<Query>,
    without_text: Vec<WrongLine>,
    wrong: WrongLines,
}

impl Queries {
    /// Queries without text, which cannot be asked.
    pub fn without_text(&self) -> &[WrongLine] {
        &self.without_text
    }

    /// Lines that were left out by [`OnWrongLine::Skip`].
    pub fn wrong_lines(&self) -> &WrongLines {
        &self.wrong
    }
}

impl std::ops::Deref for Queries {
    type Target = [Query];

    fn deref(&self) -> &Self::Target {
        &self.queries
    }
}

impl IntoIterator for Queries {
    type Item = Query;
    type IntoIter = std::vec::IntoIter<Query>;

    fn into_iter(self) -> Self::IntoIter {
        self.queries.into_iter()
    }
}

/// The documents of a corpus, streamed. See [`Collection::documents`].
pub struct Documents(Stream<Document>);

/// The documents of a corpus with their metadata, streamed. See [`Collection::records`].
pub struct Records(Stream<Record>);

type Parse<T> = fn(&str, &ReadOptions) -> Result<T, Fault>;

/// Records of several files, one after the other.
struct Stream<T> {
    remaining: std::vec::IntoIter<Entry>,
    current: Option<Entries>,
    seen: SeenIds,
    parse: Parse<T>,
    options: ReadOptions,
    wrong: WrongLines,
}

impl<T> Stream<T> {
    fn open(entries: Vec<Entry>, seen: SeenIds, parse: Parse<T>, options: ReadOptions) -> Result<Self, BeirError> {
        let mut stream =
            Self { remaining: entries.into_iter(), current: None, seen, parse, options, wrong: WrongLines::default() };
        stream.open_next()?;
        Ok(stream)
    }

    fn open_next(&mut self) -> Result<(), BeirError> {
        self.current = match self.remaining.next() {
            Some(entry) => {
                self.seen.next_file(&entry.shown);
                Some(Entries::new(Arc::clone(&entry.shown), entry.open()?))
            }
            None => None,
        };
        Ok(())
    }

    fn next(&mut self, id: impl Fn(&T) -> String) -> Option<Result<(T, Place), BeirError>> {
        loop {
            let fault = match self.read(&id) {
                Ok(Some(read)) => return Some(Ok(read)),
                Ok(None) => return None,
                Err(fault) => fault,
            };
            let fault = match self.options.on_wrong_line {
                OnWrongLine::Skip => match self.wrong.take(fault) {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                OnWrongLine::Stop => fault,
            };
            self.current = None;
            self.remaining = Vec::new().into_iter();
            return Some(Err(fault));
        }
    }

    fn read(&mut self, id: &impl Fn(&T) -> String) -> Result<Option<(T, Place)>, BeirError> {
        while let Some(entries) = &mut self.current {
            let file = Arc::clone(entries.file());
            let Some((line, text)) = entries.next_entry()? else {
                self.open_next()?;
                continue;
            };
            let item =
                (self.parse)(text, &self.options).map_err(|fault| BeirError::line(&file, line, fault.problem))?;
            let place = Place { file, line };
            self.seen.check(&place, &id(&item))?;
            return Ok(Some((item, place)));
        }
        Ok(None)
    }
}

impl Documents {
    /// The lines left out so far by [`OnWrongLine::Skip`].
    pub fn wrong_lines(&self) -> &WrongLines {
        &self.0.wrong
    }
}

impl Records {
    /// The lines left out so far by [`OnWrongLine::Skip`].
    pub fn wrong_lines(&self) -> &WrongLines {
        &self.0.wrong
    }

    /// Counts a record that was read among the lines that were left out.
    fn leave_out(&mut self, wrong: WrongLine) {
        self.0.wrong.push(wrong);
    }

    /// The lines that were left out.
    pub fn into_wrong_lines(self) -> WrongLines {
        self.0.wrong
    }
}

impl Iterator for Documents {
    type Item = Result<Document, BeirError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next(|document| document.id.clone())?.map(|(document, _)| document))
    }
}

impl Iterator for Records {
    type Item = Result<Record, BeirError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.0.next(|record| record.document.id.clone())?;
        Some(read.map(|(record, place)| Record { place, ..record }))
    }
}

/// Finds ids that come twice. Keeps 128 bits of hash and a line number for each, so that ten million ids take some
/// 300 MB whatever their length; two different ids would be mistaken for one with odds of about 1 in 10^24.
struct SeenIds {
    what: &'static str,
    keys: (RandomState, RandomState),
    /// For each id the number of its file, in the upper 16 bits, and its line.
    lines: HashMap<(u64, u64), u64>,
    files: Vec<Arc<str>>,
}

const LINE_BITS: u32 = 48;

impl SeenIds {
    fn new(what: &'static str) -> Self {
        Self { what, keys: (RandomState::new(), RandomState::new()), lines: HashMap::new(), files: Vec::new() }
    }

    fn next_file(&mut self, shown: &Arc<str>) {
        self.files.push(Arc::clone(shown));
    }

    fn check(&mut self, place: &Place, id: &str) -> Result<(), BeirError> {
        let key = (self.keys.0.hash_one(id), self.keys.1.hash_one(id));
        let file = self.files.len().saturating_sub(1) as u64;
        match self.lines.entry(key) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(file << LINE_BITS | place.line);
                Ok(())
            }
            std::collections::hash_map::Entry::Occupied(first) => {
                let (first_file, line) = (first.get() >> LINE_BITS, first.get() & ((1 << LINE_BITS) - 1));
                let named = usize::try_from(first_file).ok().and_then(|number| self.files.get(number));
                let first = match named.filter(|_| first_file != file) {
                    Some(other) => format!("in {other} line {line}"),
                    None => format!("on line {line}"),
                };
                Err(BeirError::DuplicateId { place: place.clone(), what: self.what, id: id.to_owned(), first })
            }
        }
    }
}

fn name_of(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let whole = if path.file_name().is_none() {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
    } else {
        path.to_path_buf()
    };
    if whole.as_os_str() == "-" {
        return "collection".to_owned();
    }
    let packed = ["gz", "bz2", "zst", "zstd"]
        .iter()
        .any(|packing| whole.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(packing)));
    let name = match () {
        () if whole.is_dir() => whole.file_name(),
        () if packed => whole.file_stem().and_then(|packed| Path::new(packed).file_stem()),
        () => whole.file_stem(),
    };
    name.map_or_else(|| "collection".to_owned(), |name| name.to_string_lossy().into_owned())
}
