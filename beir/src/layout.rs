//! Which files of a folder or an archive are corpus, queries and judgements.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::archive;
use crate::error::BeirError;
use crate::source::{self, Kind};

pub(crate) const CORPUS: &str = "corpus.jsonl";
pub(crate) const QUERIES: &str = "queries.jsonl";

/// One file of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    origin: Origin,
    /// Its name for messages.
    pub(crate) shown: Arc<str>,
}

#[derive(Debug, Clone)]
enum Origin {
    File(PathBuf),
    Zipped {
        archive: PathBuf,
        index: usize,
        name: String,
        /// Keeps the archive, where it came from a pipe.
        _spool: Option<Arc<TempPath>>,
    },
    /// What came from a pipe, in a temporary file.
    Spooled(Arc<TempPath>),
}

impl Entry {
    /// Opens the file as text.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, BeirError> {
        let plain = |path: &Path| -> Result<Box<dyn Read + Send>, BeirError> {
            Ok(Box::new(File::open(path).map_err(|source| BeirError::io("open", &self.shown, source))?))
        };
        #[cfg(feature = "parquet")]
        {
            let path: Option<&Path> = match &self.origin {
                Origin::File(path) => Some(path),
                Origin::Spooled(path) => Some(path),
                Origin::Zipped { .. } => None,
            };
            if let Some(path) = path
                && Kind::of(&source::head(path)?) == Kind::Parquet
            {
                return crate::parquet_lines::open(&self.shown, path);
            }
        }
        let raw = match &self.origin {
            Origin::File(path) => plain(path)?,
            Origin::Spooled(path) => plain(path)?,
            Origin::Zipped { archive, index, name, .. } => archive::stream(archive, *index, name)?,
        };
        source::text_of(&self.shown, raw)
    }
}

/// The files of one collection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) corpora: Vec<Entry>,
    pub(crate) queries: Vec<Entry>,
    pub(crate) splits: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Corpus,
    Queries,
    Split(String),
}

const PACKINGS: [&str; 6] = ["", ".gz", ".bz2", ".zst", ".zstd", ".xz"];
const RECORDS: [&str; 4] = [".jsonl", ".ndjson", ".json", ".jsonlines"];
const JUDGEMENTS: [&str; 5] = [".tsv", ".qrels", ".qrel", ".trec", ".jsonl"];

/// A name without what says how it is packed and what it holds, and how good that is: of `corpus.jsonl` and
/// `corpus.jsonl.gz` beside each other, the first is read.
fn stem<'a>(name: &'a str, formats: &[&str]) -> Option<(&'a str, usize)> {
    let lower = name.to_ascii_lowercase();
    for (packed, packing) in PACKINGS.iter().enumerate() {
        let Some(inner) = lower.strip_suffix(packing) else { continue };
        for (of_kind, format) in formats.iter().enumerate() {
            if let Some(stem) = inner.strip_suffix(format) {
                return Some((name.get(..stem.len())?, packed * formats.len() + of_kind));
            }
        }
    }
    None
}

/// What a file is by its name within the collection's folder.
fn role(name: &str) -> Option<(Role, usize)> {
    if let Some((folder, file)) = name.split_once('/') {
        let (stem, rank) = stem(file, &JUDGEMENTS)?;
        let is_split = folder.eq_ignore_ascii_case("qrels")
            && !stem.is_empty()
            && !stem.starts_with('.')
            && !stem.contains(['/', '\\', '\0']);
        return is_split.then(|| (Role::Split(stem.to_owned()), rank));
    }
    let (stem, rank) = stem(name, &RECORDS)?;
    match stem.to_ascii_lowercase().as_str() {
        "corpus" => Some((Role::Corpus, rank)),
        "queries" => Some((Role::Queries, rank)),
        _ => None,
    }
}

fn refuse(path: &Path, problem: impl Into<String>) -> BeirError {
    BeirError::NotACollection { path: path.to_path_buf(), problem: problem.into() }
}

/// A few names, for messages.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.take(6).map(|name| format!("`{}`", name.escape_debug())).collect();
    if names.len() == 6 {
        names[5] = "...".to_owned();
    }
    names.join(", ")
}

/// Kinds of files that people have and that are not read, by the end of their names.
const NOT_READ: [(&str, &str); 12] = [
    (".csv", "a table"),
    (".tsv", "a table"),
    (".xlsx", "a table"),
    (".xls", "a table"),
    (".parquet", "a Parquet file"),
    (".arrow", "an Arrow file"),
    (".xml", "an XML file"),
    (".html", "a web page"),
    (".npy", "a file of vectors"),
    (".sqlite", "a database"),
    (".db", "a database"),
    (".md", "plain text"),
];

/// What a file of documents looks like, for messages.
const JSON_LINES: &str = "write one JSON object a line: {\"_id\": \"...\", \"title\": \"...\", \"text\": \"...\"}";

impl Layout {
    /// Adds the files of a folder, a zip, or a file with documents only.
    pub(crate) fn add(&mut self, path: &Path) -> Result<(), BeirError> {
        if path == Path::new("-") {
            let spool = Arc::new(spool(&mut std::io::stdin().lock(), "standard input")?);
            return self.add_file(&spool, path, Some(Arc::clone(&spool)), "standard input");
        }
        let shown = path.display().to_string();
        let found = std::fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => BeirError::NotFound { path: path.to_path_buf() },
            _ => BeirError::io("open", &shown, source),
        })?;
        if found.is_dir() {
            return self.add_folder(path);
        }
        if is_pipe(&found) {
            let mut pipe = File::open(path).map_err(|source| BeirError::io("open", &shown, source))?;
            let spool = Arc::new(spool(&mut pipe, &shown)?);
            return self.add_file(&spool, path, Some(Arc::clone(&spool)), &shown);
        }
        if !found.is_file() {
            return Err(refuse(path, "it is neither a folder nor a file nor a pipe"));
        }
        self.add_file(path, path, None, &shown)
    }

    /// Takes, of several files that were named together, those of queries for queries where their corpus is among them.
    pub(crate) fn add_files(&mut self, paths: &[PathBuf]) -> Result<(), BeirError> {
        let role_of = |path: &Path| path.file_name()?.to_str().and_then(role).map(|(role, _)| role);
        let corpora: BTreeSet<Option<&Path>> =
            paths.iter().filter(|path| role_of(path) == Some(Role::Corpus)).map(|path| path.parent()).collect();
        for path in paths {
            let of_corpus = role_of(path) == Some(Role::Queries) && corpora.contains(&path.parent()) && path.is_file();
            if of_corpus {
                let shown = path.display().to_string().into();
                self.queries.push(Entry { origin: Origin::File(path.clone()), shown });
            } else {
                self.add(path)?;
            }
        }
        Ok(())
    }

    fn add_folder(&mut self, path: &Path) -> Result<(), BeirError> {
        let list = |folder: &Path| -> Result<Vec<(String, PathBuf)>, BeirError> {
            let io = |source| BeirError::io("list", folder.display(), source);
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder).map_err(io)? {
                let entry = entry.map_err(io)?;
                // A name that is not text is none of ours.
                if let Ok(name) = entry.file_name().into_string() {
                    names.push((name, entry.path()));
                }
            }
            names.sort();
            Ok(names)
        };
        let mut files = Vec::new();
        let (mut folders, mut others) = (Vec::new(), Vec::new());
        for (name, found) in list(path)? {
            if found.is_file() {
                others.push(name.clone());
                files.push((name, found));
            } else if found.is_dir() && name.eq_ignore_ascii_case("qrels") {
                let inner = list(&found)?.into_iter().filter(|(_, file)| file.is_file());
                files.extend(inner.map(|(file, path)| (format!("{name}/{file}"), path)));
            } else if found.is_dir() {
                folders.push((name, found));
            }
        }
        let found = self.take(files.iter().map(|(name, path)| {
            (name.as_str(), Entry { origin: Origin::File(path.clone()), shown: path.display().to_string().into() })
        }));
        if found {
            return Ok(());
        }
        let inner: Vec<&str> = folders
            .iter()
            .filter(|(_, folder)| folder.join(CORPUS).is_file() || folder.join(format!("{CORPUS}.gz")).is_file())
            .map(|(name, _)| name.as_str())
            .collect();
        let records: Vec<&str> =
            others.iter().map(String::as_str).filter(|name| stem(name, &RECORDS).is_some()).collect();
        Err(refuse(
            path,
            match () {
                () if !inner.is_empty() => {
                    format!("the folder has no {CORPUS}; there is one in {}: name that folder", some(inner.into_iter()))
                }
                () if !records.is_empty() => format!(
                    "the folder has no {CORPUS}; it holds {}: name the files, or a pattern such as '{}'",
                    some(records.into_iter()),
                    path.join("*.jsonl").display()
                ),
                () if !others.is_empty() => {
                    format!("the folder has no {CORPUS}; it holds {}", some(others.iter().map(String::as_str)))
                }
                () => format!("the folder has no {CORPUS}"),
            },
        ))
    }

    /// Adds a file by what it is: an archive by its content, documents otherwise.
    fn add_file(
        &mut self,
        path: &Path,
        named: &Path,
        spool: Option<Arc<TempPath>>,
        shown: &str,
    ) -> Result<(), BeirError> {
        let name = named.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
        let head = source::head(path)?;
        let kind = Kind::of(&head);
        if kind == Kind::Zip || name.ends_with(".zip") {
            return self.add_zip(path, spool, shown);
        }
        let unpacked = PACKINGS.iter().rev().find_map(|packing| name.strip_suffix(packing)).unwrap_or(&name);
        let is_parquet = cfg!(feature = "parquet") && kind == Kind::Parquet;
        if let Some((end, what)) = NOT_READ.iter().find(|(end, _)| unpacked.ends_with(end) && !is_parquet) {
            return Err(refuse(named, format!("{what} ({end}) is not read; {JSON_LINES}")));
        }
        match kind {
            Kind::Pointer => return Err(refuse(named, format!("it {}", source::LFS_ADVICE))),
            Kind::Parquet if !is_parquet => {
                return Err(refuse(
                    named,
                    "it is a Parquet file, which is read with the feature `parquet` only".to_owned(),
                ));
            }
            Kind::Other(what) => {
                return Err(refuse(named, format!("it is {what}, which is not read; unpack or convert it first")));
            }
            _ => {}
        }
        let begins_like_json = || {
            let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head).trim_ascii_start();
            head.first().is_none_or(|first| matches!(first, b'{' | b'['))
        };
        if kind == Kind::Text && stem(&name, &RECORDS).is_none() && spool.is_none() && !begins_like_json() {
            return Err(refuse(
                named,
                format!(
                    "its name does not end in .jsonl, .ndjson, .json or .zip, and it does not begin as JSON does; {JSON_LINES}"
                ),
            ));
        }
        let origin = match spool {
            Some(spool) => Origin::Spooled(spool),
            None => Origin::File(path.to_path_buf()),
        };
        self.corpora.push(Entry { origin, shown: shown.into() });
        Ok(())
    }

    fn add_zip(&mut self, path: &Path, spool: Option<Arc<TempPath>>, shown: &str) -> Result<(), BeirError> {
        let names = archive::names(path)?;
        let named = Path::new(shown);
        let parts = |name: &str| -> (String, String) {
            let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            (folder.to_owned(), file.to_owned())
        };
        let folders_with = |wanted: &dyn Fn(&str, &str) -> Option<String>| -> BTreeSet<String> {
            names
                .keys()
                .filter_map(|name| {
                    let (folder, file) = parts(name);
                    wanted(&folder, &file)
                })
                .collect()
        };
        let with = |wanted: Role| {
            folders_with(&|folder, file| (role(file).map(|(role, _)| role)? == wanted).then(|| folder.to_owned()))
        };
        let mut folders = with(Role::Corpus);
        if folders.is_empty() {
            folders = with(Role::Queries);
        }
        if folders.is_empty() {
            folders = folders_with(&|folder, file| {
                let outer = folder.rsplit_once('/').map_or("", |(outer, _)| outer);
                let last = folder.rsplit('/').next()?;
                role(&format!("{last}/{file}")).map(|_| outer.to_owned())
            });
        }
        let entry = |name: &str, index: usize| Entry {
            origin: Origin::Zipped { archive: path.to_path_buf(), index, name: name.to_owned(), _spool: spool.clone() },
            shown: format!("{shown}/{name}").into(),
        };
        let folders: Vec<String> = folders.into_iter().collect();
        match folders.as_slice() {
            [] => {}
            [folder] => {
                let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                self.take(
                    names
                        .iter()
                        .filter_map(|(name, &index)| Some((name.strip_prefix(prefix.as_str())?, entry(name, index)))),
                );
                return Ok(());
            }
            several => {
                return Err(refuse(
                    named,
                    format!(
                        "the archive has more than one {CORPUS}, in {}; unpack it and name one folder",
                        several.iter().map(|folder| format!("`{folder}/`")).collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
        }
        // A file of documents by another name, if it is the only one.
        let records: Vec<&String> = names
            .keys()
            .filter(|name| {
                let (_, file) = parts(name);
                !file.starts_with('.') && stem(&file, &RECORDS).is_some()
            })
            .collect();
        match records.as_slice() {
            [name] => {
                self.corpora.push(entry(name, names.get(*name).copied().unwrap_or_default()));
                Ok(())
            }
            _ if names.is_empty() => Err(refuse(named, format!("the archive has no {CORPUS}; it is empty"))),
            _ => Err(refuse(
                named,
                format!("the archive has no {CORPUS}; it holds {}", some(names.keys().map(String::as_str))),
            )),
        }
    }

    /// Takes the files that are ours among those of a folder, of each the best form. Whether there was any.
    fn take<'a>(&mut self, files: impl Iterator<Item = (&'a str, Entry)>) -> bool {
        let mut best: BTreeMap<Role, (usize, Entry)> = BTreeMap::new();
        for (name, entry) in files {
            let Some((role, rank)) = role(name) else { continue };
            if best.get(&role).is_none_or(|(before, _)| rank < *before) {
                best.insert(role, (rank, entry));
            }
        }
        let found = !best.is_empty();
        for (role, (_, entry)) in best {
            match role {
                Role::Corpus => self.corpora.push(entry),
                Role::Queries => self.queries.push(entry),
                Role::Split(split) => self.splits.entry(split).or_default().push(entry),
            }
        }
        found
    }
}

/// Writes what comes from a pipe to a temporary file, since it may have to be read more than once.
fn spool(from: &mut dyn Read, shown: &str) -> Result<TempPath, BeirError> {
    let mut file =
        tempfile::NamedTempFile::new().map_err(|source| BeirError::io("write", "a temporary file", source))?;
    std::io::copy(from, &mut file).map_err(|source| BeirError::io("read", shown, source))?;
    Ok(file.into_temp_path())
}

#[cfg(unix)]
fn is_pipe(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// The paths that a user's words name: patterns with `*`, `?` and `[...]` are matched where nothing bears that very name.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>, BeirError> {
    let text = path.to_str().filter(|text| text.contains(['*', '?', '[']));
    let Some(pattern) = text.filter(|_| !path.exists()) else { return Ok(vec![path.to_path_buf()]) };
    let matches = glob::glob(pattern).map_err(|fault| refuse(path, format!("the pattern cannot be read: {fault}")))?;
    let mut found = Vec::new();
    for matched in matches {
        found.push(matched.map_err(|fault| {
            let shown = fault.path().display().to_string();
            BeirError::io("list", shown, fault.into())
        })?);
    }
    match found.is_empty() {
        true => Err(refuse(path, "no file matches this pattern")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        for (name, expected) in [
            ("corpus.jsonl", Some(Role::Corpus)),
            ("Corpus.JSONL.GZ", Some(Role::Corpus)),
            ("corpus.json.bz2", Some(Role::Corpus)),
            ("queries.ndjson.zst", Some(Role::Queries)),
            ("qrels/Test.tsv", Some(Role::Split("Test".to_owned()))),
            ("qrels/dev.tsv.gz", Some(Role::Split("dev".to_owned()))),
            ("qrels/._test.tsv", None),
            ("qrels/a/b.tsv", None),
            ("mycorpus.jsonl", None),
            ("corpus.csv", None),
            ("qrels.tsv", None),
        ] {
            assert_eq!(role(name).map(|(role, _)| role), expected, "{name}");
        }
        assert!(role("corpus.jsonl").unwrap().1 < role("corpus.jsonl.gz").unwrap().1);
    }
}
