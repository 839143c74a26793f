//! A collection: a BEIR folder, a zip of one, or a lone corpus file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::archive;
use crate::error::{BeirError, Place};
use crate::lines::Lines;
use crate::qrels::{self, Judgement, Qrels};
use crate::record::{self, Document, Query, Record};

const CORPUS: &str = "corpus.jsonl";
const QUERIES: &str = "queries.jsonl";

/// Names that [`Summary::unread`] keeps, however many a file makes up.
const MAX_UNREAD: usize = 20;

#[derive(Debug, Clone)]
enum Source {
    Folder,
    /// The folder inside the archive that holds the files, empty or ending in `/`, and all names below it.
    Zip {
        inside: String,
        names: BTreeSet<String>,
    },
    /// A corpus and nothing else.
    Corpus {
        gzipped: bool,
    },
}

/// A collection of documents, queries and judgements in BEIR layout.
///
/// ```text
/// NAME/corpus.jsonl      {"_id": "...", "title": "...", "text": "..."} a line
/// NAME/queries.jsonl     {"_id": "...", "text": "..."} a line
/// NAME/qrels/test.tsv    header, then query-id TAB corpus-id TAB score
/// ```
///
/// It may be that folder, a `.zip` that holds it (in a folder of its own or at its root), or a single `.jsonl` with
/// documents only, gzipped or not. Nothing is unpacked; documents are read as a stream.
#[derive(Debug, Clone)]
pub struct Collection {
    path: PathBuf,
    name: String,
    source: Source,
}

impl Collection {
    /// Opens a collection. Reads names only; faults within the files come when they are read.
    ///
    /// # Errors
    /// When nothing is there, it holds no `corpus.jsonl`, or it is a zip that breaks off or could do harm.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BeirError> {
        let path = path.as_ref();
        let found = std::fs::metadata(path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                BeirError::NotFound { path: path.to_path_buf() }
            } else {
                BeirError::io("open", path.display(), source)
            }
        })?;
        let refuse = |problem: String| BeirError::NotACollection { path: path.to_path_buf(), problem };
        let source = if found.is_dir() {
            if !path.join(CORPUS).is_file() {
                return Err(refuse(format!("the folder has no {CORPUS}")));
            }
            Source::Folder
        } else {
            let extension = extension_of(path);
            let gzipped = extension == "gz";
            let inner = if gzipped { extension_of(&path.with_extension("")) } else { extension };
            match inner.as_str() {
                "zip" if !gzipped => inside_zip(path)?,
                "jsonl" | "ndjson" => Source::Corpus { gzipped },
                _ => return Err(refuse("a file must end in .zip, .jsonl or .jsonl.gz".to_owned())),
            }
        };
        Ok(Self { name: name_of(path), path: path.to_path_buf(), source })
    }

    /// The folder's or file's name without its extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a `queries.jsonl`.
    pub fn has_queries(&self) -> bool {
        self.has(QUERIES)
    }

    /// The names of the judgement files, `train` for `qrels/train.tsv`, in alphabetical order.
    pub fn splits(&self) -> Vec<String> {
        let mut splits: Vec<String> = match &self.source {
            Source::Corpus { .. } => Vec::new(),
            Source::Folder => std::fs::read_dir(self.path.join("qrels"))
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter_map(|name| Some(name.strip_suffix(".tsv")?.to_owned()))
                .collect(),
            Source::Zip { inside, names } => names
                .iter()
                .filter_map(|name| {
                    let split = name.strip_prefix(inside)?.strip_prefix("qrels/")?.strip_suffix(".tsv")?;
                    (!split.contains('/')).then(|| split.to_owned())
                })
                .collect(),
        };
        splits.retain(|split| !split.starts_with('.'));
        splits.sort();
        splits
    }

    /// The documents, in the order of the file, one at a time. The iterator ends after its first error.
    ///
    /// # Errors
    /// When the corpus cannot be opened. Each item is an error where its line is not a usable record or bears an id
    /// seen before.
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
        Ok(Stream { lines: self.lines(CORPUS)?, seen: SeenIds::new("document"), parse, ended: false })
    }

    /// All queries, in the order of the file.
    ///
    /// # Errors
    /// When there are none, a line is not a usable record, an id occurs twice, or a query has no text.
    pub fn queries(&self) -> Result<Vec<Query>, BeirError> {
        let mut lines = self.lines(QUERIES)?;
        let file = lines.file().to_owned();
        let mut seen = SeenIds::new("query");
        let mut queries = Vec::new();
        while let Some((number, line)) = lines.next_line()? {
            let query = record::query(&file, number, line)?;
            seen.check(&file, number, &query.id)?;
            queries.push(query);
        }
        Ok(queries)
    }

    /// The judgements of a split, as `test`.
    ///
    /// # Errors
    /// When there is no such file, its header or a row is wrong, or a pair is judged twice with different grades.
    pub fn qrels(&self, split: &str) -> Result<Qrels, BeirError> {
        qrels::collect(self.split_lines(split)?, &mut |_| Ok(()))
    }

    /// The judgements of a split, each checked against what the caller knows.
    ///
    /// # Errors
    /// As [`qrels`](Self::qrels), and where a row names a query or a document for which the function given answers
    /// `false`; the error names the row's line.
    pub fn checked_qrels(
        &self,
        split: &str,
        mut is_query: impl FnMut(&str) -> bool,
        mut is_document: impl FnMut(&str) -> bool,
    ) -> Result<Qrels, BeirError> {
        let lines = self.split_lines(split)?;
        let file = lines.file().to_owned();
        let unknown = |judgement: &Judgement, what, id: &str, absent_from: String| BeirError::Unknown {
            place: Place { file: file.clone(), line: judgement.line },
            what,
            id: id.to_owned(),
            absent_from,
        };
        qrels::collect(lines, &mut |judgement| {
            if !is_query(&judgement.query) {
                return Err(unknown(judgement, "query", &judgement.query, self.file_name(QUERIES)));
            }
            if !is_document(&judgement.document) {
                return Err(unknown(judgement, "document", &judgement.document, self.file_name(CORPUS)));
            }
            Ok(())
        })
    }

    /// Reads everything once and checks it as a whole: every record usable, ids unique, every judgement about a query
    /// and a document that exist.
    ///
    /// # Errors
    /// The first fault found, by file and line.
    pub fn check(&self) -> Result<Summary, BeirError> {
        let mut summary = Summary::default();
        let mut ids = std::collections::HashSet::new();
        for record in self.records()? {
            let record = record?;
            ids.insert(record.document.id);
            summary.documents += 1;
            for name in record.unread {
                if summary.unread.len() < MAX_UNREAD || summary.unread.contains_key(&name) {
                    *summary.unread.entry(name).or_default() += 1;
                }
            }
        }
        if !self.has_queries() {
            return Ok(summary);
        }
        let queries: std::collections::HashSet<String> = self.queries()?.into_iter().map(|query| query.id).collect();
        summary.queries = queries.len();
        for split in self.splits() {
            let qrels = self.checked_qrels(&split, |id| queries.contains(id), |id| ids.contains(id))?;
            summary.judgements.push((split, qrels.judgements()));
        }
        Ok(summary)
    }

    fn split_lines(&self, split: &str) -> Result<Lines, BeirError> {
        let file = format!("qrels/{split}.tsv");
        // A split is a plain name; anything else could reach files outside the collection.
        if split.is_empty() || split.contains(['/', '\\', '\0']) || split.starts_with('.') || !self.has(&file) {
            let splits = self.splits();
            return Err(BeirError::NoFile {
                collection: self.path.display().to_string(),
                file: file.escape_debug().to_string(),
                hint: if splits.is_empty() {
                    "; it has no judgements".to_owned()
                } else {
                    format!("; its splits are {}", splits.join(", "))
                },
            });
        }
        self.lines(&file)
    }

    fn has(&self, file: &str) -> bool {
        match &self.source {
            Source::Folder => self.path.join(file).is_file(),
            Source::Zip { inside, names } => names.contains(&format!("{inside}{file}")),
            Source::Corpus { .. } => file == CORPUS,
        }
    }

    fn file_name(&self, file: &str) -> String {
        match &self.source {
            Source::Folder => self.path.join(file).display().to_string(),
            Source::Zip { inside, .. } => format!("{}/{inside}{file}", self.path.display()),
            Source::Corpus { .. } => self.path.display().to_string(),
        }
    }

    fn lines(&self, file: &str) -> Result<Lines, BeirError> {
        if !self.has(file) {
            return Err(BeirError::NoFile {
                collection: self.path.display().to_string(),
                file: file.to_owned(),
                hint: String::new(),
            });
        }
        let name = self.file_name(file);
        let open = |path: &Path| File::open(path).map_err(|source| BeirError::io("open", &name, source));
        let reader: Box<dyn Read + Send> = match &self.source {
            Source::Zip { inside, .. } => archive::stream(&self.path, &format!("{inside}{file}"))?,
            Source::Folder => Box::new(open(&self.path.join(file))?),
            Source::Corpus { gzipped: false } => Box::new(open(&self.path)?),
            // Of several members, as `cat a.gz b.gz` makes them, all are read.
            Source::Corpus { gzipped: true } => Box::new(MultiGzDecoder::new(BufReader::new(open(&self.path)?))),
        };
        Ok(Lines::new(name, reader))
    }
}

/// What [`Collection::check`] counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Documents in the corpus.
    pub documents: usize,
    /// Queries.
    pub queries: usize,
    /// Judgements by split, in alphabetical order.
    pub judgements: Vec<(String, usize)>,
    /// Fields of documents that the format has no place for, with how many documents have them; at most 20 names.
    pub unread: BTreeMap<String, usize>,
}

/// The documents of a corpus, streamed. See [`Collection::documents`].
pub struct Documents(Stream<Document>);

/// The documents of a corpus with their metadata, streamed. See [`Collection::records`].
pub struct Records(Stream<Record>);

type Parse<T> = fn(&str, u64, &str) -> Result<T, BeirError>;

struct Stream<T> {
    lines: Lines,
    seen: SeenIds,
    parse: Parse<T>,
    ended: bool,
}

impl<T> Stream<T> {
    fn next(&mut self, id: impl Fn(&T) -> &str) -> Option<Result<T, BeirError>> {
        if self.ended {
            return None;
        }
        let item = self.read(id).transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }

    fn read(&mut self, id: impl Fn(&T) -> &str) -> Result<Option<T>, BeirError> {
        let file = self.lines.file().to_owned();
        let Some((number, line)) = self.lines.next_line()? else {
            return Ok(None);
        };
        let item = (self.parse)(&file, number, line)?;
        self.seen.check(&file, number, id(&item))?;
        Ok(Some(item))
    }
}

impl Iterator for Documents {
    type Item = Result<Document, BeirError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|document| &document.id)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BeirError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|record| &record.document.id)
    }
}

/// Finds ids that come twice. Keeps 128 bits of hash and a line number for each, so that ten million ids take some
/// 300 MB whatever their length; two different ids would be mistaken for one with odds of about 1 in 10^24.
struct SeenIds {
    what: &'static str,
    keys: (RandomState, RandomState),
    lines: HashMap<(u64, u64), u64>,
}

impl SeenIds {
    fn new(what: &'static str) -> Self {
        Self { what, keys: (RandomState::new(), RandomState::new()), lines: HashMap::new() }
    }

    fn check(&mut self, file: &str, line: u64, id: &str) -> Result<(), BeirError> {
        let key = (self.keys.0.hash_one(id), self.keys.1.hash_one(id));
        match self.lines.insert(key, line) {
            None => Ok(()),
            Some(first) => Err(BeirError::DuplicateId {
                place: Place { file: file.to_owned(), line },
                what: self.what,
                id: id.to_owned(),
                first,
            }),
        }
    }
}

fn extension_of(path: &Path) -> String {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_ascii_lowercase()
}

fn name_of(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let whole = if path.file_name().is_none() {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
    } else {
        path.to_path_buf()
    };
    let name = match extension_of(&whole).as_str() {
        _ if whole.is_dir() => whole.file_name(),
        "gz" => whole.file_stem().and_then(|packed| Path::new(packed).file_stem()),
        _ => whole.file_stem(),
    };
    name.map_or_else(|| "collection".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Finds the one folder of the archive that holds a corpus.
fn inside_zip(path: &Path) -> Result<Source, BeirError> {
    let names: BTreeSet<String> =
        archive::names(path)?.into_iter().filter(|name| !name.starts_with("__MACOSX/")).collect();
    let folders: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(CORPUS))
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .collect();
    let refuse = |problem: String| BeirError::NotACollection { path: path.to_path_buf(), problem };
    match folders.as_slice() {
        [] => Err(refuse(format!("the archive has no {CORPUS}"))),
        [inside] => Ok(Source::Zip { inside: (*inside).to_owned(), names: names.clone() }),
        several => Err(refuse(format!(
            "the archive has more than one {CORPUS}, in {}; unpack it and name one folder",
            several.iter().map(|folder| format!("`{folder}`")).collect::<Vec<_>>().join(", ")
        ))),
    }
}
