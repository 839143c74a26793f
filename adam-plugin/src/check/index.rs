//! The files of an index.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tantivy::directory::error::OpenReadError;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::SegmentMeta;
use tantivy::schema::{Field, FieldType, IndexRecordOption, Value};
use tantivy::tokenizer::{MAX_TOKEN_LEN, TextAnalyzer};
use tantivy::{DocId, DocSet, Index, InvertedIndexReader, SegmentReader, TantivyDocument, Term};
use tantivy_dense::Dense;

use super::report::{CheckReport, Kind};
use crate::engine::{EXTENSIONS, Engine};
use crate::error::PluginError;
use crate::folder::{Contents, FILE_LIST, IndexFolder, MAX_META, META, is_leftover, segment_of};
use crate::manifest::{MANIFEST_FILE, Manifest};

/// Words of a field that are looked up for each document.
const WORDS: u32 = 4;

/// Blocks of stored documents kept while they are read in order.
const CACHED_BLOCKS: usize = 4;

const RESTORE: &str = "restore the index from a copy, or make it again from the same data in a new folder";
const NEXT_WRITER: &str = "nothing: the next command that writes to the index removes it";

pub(super) fn check(folder: &Path, contents: Contents) -> Result<CheckReport, PluginError> {
    let mut report = CheckReport::new(Kind::Index);
    match Manifest::read(folder) {
        Ok(Some(_)) => report.files += 1,
        Ok(None) => report.damage(folder.join(MANIFEST_FILE), "is missing", RESTORE),
        Err(fault) => report.damage(folder.join(MANIFEST_FILE), fault.to_string(), RESTORE),
    }
    match contents {
        Contents::Begun => {
            report.note(
                folder,
                "the index was being made when that ended; nothing is committed",
                "start the command that made it again",
            );
            return Ok(report);
        }
        Contents::WithoutMeta => {
            report.damage(folder.join(META), "is missing, and says which segments there are", RESTORE);
            return Ok(report);
        }
        _ => {}
    }
    check_lists(folder, &mut report);
    let dense = Dense::new();
    let opened = caught(|| Ok(dense.open_index(IndexFolder::open(folder)?)?));
    let index: Index = match opened {
        Ok(index) => index,
        Err(problem) => {
            report.damage(folder.join(META), format!("the index cannot be opened: {problem}"), RESTORE);
            return Ok(report);
        }
    };
    crate::Language::register_all(&index);
    let metas = match index.load_metas() {
        Ok(metas) => metas,
        Err(fault) => {
            report.damage(folder.join(META), fault.to_string(), RESTORE);
            return Ok(report);
        }
    };
    check_names(folder, &metas.segments, &mut report)?;
    let mut damaged: HashMap<String, CheckReport> = HashMap::new();
    for meta in &metas.segments {
        let mut of_segment = CheckReport::new(Kind::Index);
        check_segment(folder, &index, meta, &mut of_segment);
        report.files += of_segment.files;
        report.bytes += of_segment.bytes;
        damaged.insert(meta.id().uuid_string(), of_segment);
    }
    for fault in caught(|| Ok(dense.damage(&index)?)).unwrap_or_else(|problem| vec![(String::new(), problem)]) {
        let (file, problem) = fault;
        let segment = file.split('.').next().unwrap_or_default().to_owned();
        let path = folder.join(&file);
        let of_segment = damaged.entry(segment).or_insert_with(|| CheckReport::new(Kind::Index));
        // A segment with a damaged file cannot be opened; the file has been reported.
        let known = of_segment.findings.iter().any(|finding| finding.path == path)
            || (segment_of(&file).is_none() && of_segment.is_damaged());
        if !known {
            of_segment.damage(path, problem, RESTORE);
        }
    }
    // Words are looked up only in files that are whole.
    if damaged.values().all(|of_segment| !of_segment.is_damaged()) && !report.is_damaged() {
        check_words(folder, &mut report);
    }
    // What a writer replaced meanwhile is gone for a reason.
    let still_there: HashSet<String> = match index.load_metas() {
        Ok(metas) => metas.segments.iter().map(|meta| meta.id().uuid_string()).collect(),
        Err(_) => HashSet::new(),
    };
    for (segment, of_segment) in damaged {
        if segment.is_empty() || still_there.contains(&segment) {
            report.findings.extend(of_segment.findings);
        }
    }
    Ok(report)
}

/// The two lists of tantivy, as far as it does not check them itself.
fn check_lists(folder: &Path, report: &mut CheckReport) {
    let read = |name: &str| durable::read(folder.join(name), MAX_META).map_err(|fault| fault.to_string());
    let parsed = |name: &str| -> Result<serde_json::Value, String> {
        serde_json::from_slice(&read(name)?).map_err(|fault| format!("is not the JSON that was written: {fault}"))
    };
    match parsed(META) {
        Ok(meta) => {
            report.files += 1;
            let mut seen = HashSet::new();
            for segment in meta["segments"].as_array().into_iter().flatten() {
                let id = segment["segment_id"].as_str().unwrap_or_default();
                if !seen.insert(id) {
                    report.damage(
                        folder.join(META),
                        format!("lists segment {id} twice, so that its documents are found twice"),
                        RESTORE,
                    );
                }
            }
        }
        Err(problem) => report.damage(folder.join(META), problem, RESTORE),
    }
    match parsed(FILE_LIST) {
        Ok(list) => {
            report.files += 1;
            for name in list.as_array().into_iter().flatten() {
                let name = name.as_str().unwrap_or_default();
                if name != META && segment_of(name).is_none() {
                    report.damage(
                        folder.join(FILE_LIST),
                        format!("names {name:?}, which is not a file of an index; adam does not write such a name"),
                        "check where the index comes from; the name is ignored",
                    );
                }
            }
        }
        Err(_) if !folder.join(FILE_LIST).exists() => {
            report.note(
                folder.join(FILE_LIST),
                "is missing: files that are no longer needed will not be removed",
                "nothing, or restore it from a copy",
            );
        }
        Err(problem) => report.damage(folder.join(FILE_LIST), problem, RESTORE),
    }
}

/// Files of no segment, and missing ones.
fn check_names(folder: &Path, metas: &[SegmentMeta], report: &mut CheckReport) -> Result<(), PluginError> {
    let segments: HashSet<String> = metas.iter().map(|meta| meta.id().uuid_string()).collect();
    let entries = folder.read_dir().map_err(|source| PluginError::io("read", folder, source))?;
    let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let orphans = names.iter().filter(|name| segment_of(name).is_some_and(|segment| !segments.contains(segment)));
    match orphans.count() {
        0 => {}
        count => report.note(
            folder,
            format!("holds {count} files of segments that are not in {META}: replaced, or never committed"),
            NEXT_WRITER,
        ),
    }
    for name in names.iter().filter(|name| is_leftover(name)) {
        report.note(folder.join(name), "was left by a writer that was killed", NEXT_WRITER);
    }
    Ok(())
}

/// Checksums of tantivy's files of one segment.
fn check_segment(folder: &Path, index: &Index, meta: &SegmentMeta, report: &mut CheckReport) {
    let id = meta.id().uuid_string();
    let mut names: Vec<String> =
        EXTENSIONS.iter().chain(&["vec"]).map(|extension| format!("{id}.{extension}")).collect();
    if let (true, Some(stamp)) = (meta.has_deletes(), meta.delete_opstamp()) {
        names.push(format!("{id}.{stamp}.del"));
    }
    let ann = format!("{id}.ann");
    if folder.join(&ann).exists() {
        names.push(ann);
    }
    for name in names {
        let path = folder.join(&name);
        report.files += 1;
        report.bytes += path.metadata().map_or(0, |found| found.len());
        let checked = caught(|| match index.directory().validate_checksum(Path::new(&name)) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some("its checksum is wrong: it is not what was written".to_owned())),
            Err(OpenReadError::FileDoesNotExist(_)) => Ok(Some("is missing".to_owned())),
            Err(OpenReadError::IoError { io_error, .. }) => Ok(Some(format!("cannot be read: {io_error}"))),
            Err(fault) => Ok(Some(fault.to_string())),
        });
        if let Some(problem) = checked.unwrap_or_else(Some) {
            report.damage(path, problem, RESTORE);
        }
    }
}

/// Whether the stored text of each document is found by its own words: files of several indexes, each whole, may have been mixed.
fn check_words(folder: &Path, report: &mut CheckReport) {
    let checked = caught(|| {
        // Damage to single files is in the report already.
        let engine = Engine::builder(folder).verify(false).open()?;
        let key = engine.index().schema().get_field(&engine.manifest().layout.key)?;
        let mut mixed = Vec::new();
        let mut documents = 0;
        for reader in engine.segment_readers() {
            let segment = folder.join(reader.segment_id().uuid_string());
            match caught(|| words_of_segment(&engine, &reader, key)) {
                Ok((count, None)) => documents += count,
                Ok((_, Some(problem))) => mixed.push((segment, problem)),
                Err(problem) => mixed.push((segment, problem)),
            }
        }
        Ok((documents, mixed))
    });
    match checked {
        Ok((documents, mixed)) => {
            report.documents = documents;
            for (segment, problem) in mixed {
                report.damage(segment, problem, RESTORE);
            }
        }
        Err(problem) => report.damage(folder, format!("cannot be searched: {problem}"), RESTORE),
    }
}

/// Looks up words of every document; the number of documents, and what is wrong with the first that is.
fn words_of_segment(engine: &Engine, reader: &SegmentReader, key: Field) -> Result<(u64, Option<String>), PluginError> {
    let index = engine.index();
    let schema = index.schema();
    let store = reader.get_store_reader(CACHED_BLOCKS).map_err(tantivy::TantivyError::from)?;
    let mut texts = Vec::new();
    for (field, entry) in schema.fields() {
        if matches!(entry.field_type(), FieldType::Str(_)) && entry.is_indexed() {
            let lengths = entry.has_fieldnorms().then(|| reader.get_fieldnorms_reader(field)).transpose()?;
            texts.push(IndexedText {
                field,
                analyser: index.tokenizer_for_field(field)?,
                words: reader.inverted_index(field)?,
                lengths,
            });
        }
    }
    let mut count = 0;
    for doc in reader.doc_ids_alive() {
        let document: TantivyDocument = store.get(doc)?;
        // Further chunks of a document store nothing.
        let Some(name) = document.get_first(key).and_then(|value| value.as_str().map(str::to_owned)) else { continue };
        let document = engine.restored(document);
        count += 1;
        for text in &mut texts {
            if let Some(problem) = text.problem(&document, doc)? {
                let field = schema.get_field_name(text.field);
                return Ok((
                    count,
                    Some(format!(
                        "its files do not belong together: {problem} of the stored `{field}` of document `{name}`"
                    )),
                ));
            }
        }
    }
    Ok((count, None))
}

/// A field of text, as a segment has it.
struct IndexedText {
    field: Field,
    analyser: TextAnalyzer,
    words: Arc<InvertedIndexReader>,
    lengths: Option<FieldNormReader>,
}

impl IndexedText {
    /// What does not fit the stored text of a document: a word that does not find it, or the number of words.
    fn problem(&mut self, document: &TantivyDocument, doc: DocId) -> Result<Option<String>, PluginError> {
        let values: Vec<&str> = document.get_all(self.field).filter_map(|value| value.as_str()).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let mut counted: u32 = 0;
        for value in values {
            let mut tokens = self.analyser.token_stream(value);
            while tokens.advance() {
                let word = &tokens.token().text;
                if word.len() > MAX_TOKEN_LEN {
                    continue;
                }
                counted = counted.saturating_add(1);
                if counted > WORDS {
                    continue;
                }
                let term = Term::from_field_text(self.field, word);
                let postings =
                    self.words.read_postings(&term, IndexRecordOption::Basic).map_err(tantivy::TantivyError::from)?;
                if postings.is_none_or(|mut postings| !contains(&mut postings, doc)) {
                    return Ok(Some(format!("no search finds it by `{word}`, a word")));
                }
            }
        }
        let kept = self.lengths.as_ref().map(|lengths| lengths.fieldnorm_id(doc));
        let differs = kept.is_some_and(|kept| kept != FieldNormReader::fieldnorm_to_id(counted));
        Ok(differs.then(|| format!("the index does not have {counted}, the number of words")))
    }
}

fn contains(postings: &mut impl DocSet, doc: DocId) -> bool {
    let at = postings.doc();
    let at = if at < doc { postings.seek(doc) } else { at };
    at == doc
}

/// Runs something over files that may hold anything: tantivy panics at some of what it does not expect.
fn caught<T>(read: impl FnOnce() -> Result<T, PluginError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(done) => done.map_err(|fault| fault.to_string()),
        Err(panic) => Err(format!("reading it failed: {}", said(panic.as_ref()))),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(said), _) => said,
        (None, Some(said)) => said,
        _ => "its content is not what was written",
    }
}
