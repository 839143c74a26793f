//! Whether a field of an index can tell its documents apart.

use std::path::Path;

use tantivy::schema::{FieldType, IndexRecordOption, Schema};
use tantivy::termdict::TermMerger;
use tantivy::{DocSet, Searcher, TERMINATED};

use super::reading::{names, refusal};
use crate::error::PluginError;

/// Refuses a key by which the new index could not find a document again, or name it.
pub(super) fn check_kind(old: &Path, schema: &Schema, key: &str) -> Result<(), PluginError> {
    let field = schema
        .get_field(key)
        .map_err(|_| refusal(old, format!("has no field `{key}`; there are {}", names(schema))))?;
    let entry = schema.get_field_entry(field);
    let is_term = match entry.field_type() {
        FieldType::Str(options) => options.get_indexing_options().is_some_and(|indexing| indexing.tokenizer() == "raw"),
        _ => false,
    };
    if is_term && entry.is_stored() {
        return Ok(());
    }
    Err(refusal(
        old,
        format!(
            "the field `{key}` cannot be the key, which is a stored text that is indexed as one term (STRING | STORED); name such a \
             field, or none, and documents are named by where they lay in this index"
        ),
    ))
}

/// Refuses a key that two documents share, that a document lacks, or of which a document has several: in the new index one
/// document takes the place of another with the same key. Reads terms and postings only.
pub(super) fn check_unique(old: &Path, searcher: &Searcher, key: &str) -> Result<(), PluginError> {
    let field = searcher.schema().get_field(key)?;
    let refuse = |why: String| {
        let problem = format!(
            "the field `{key}` cannot be the key: {why}. Name a field with another value for each document, or no key, and \
             documents are named by their position in this index"
        );
        Err(refusal(old, problem))
    };
    let inverted = searcher
        .segment_readers()
        .iter()
        .map(|reader| reader.inverted_index(field))
        .collect::<tantivy::Result<Vec<_>>>()?;
    let streams = inverted
        .iter()
        .map(|index| index.terms().stream())
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(tantivy::TantivyError::from)?;
    let mut named: Vec<Vec<bool>> =
        searcher.segment_readers().iter().map(|reader| vec![false; reader.max_doc() as usize]).collect();
    let mut terms = TermMerger::new(streams);
    while terms.advance() {
        let value = || String::from_utf8_lossy(terms.key()).into_owned();
        let mut documents = 0u64;
        for (ordinal, info) in terms.current_segment_ords_and_term_infos() {
            let reader = &searcher.segment_readers()[ordinal];
            let mut postings = inverted[ordinal]
                .read_postings_from_terminfo(&info, IndexRecordOption::Basic)
                .map_err(tantivy::TantivyError::from)?;
            while postings.doc() != TERMINATED {
                let doc = postings.doc();
                if !reader.is_deleted(doc) {
                    documents += 1;
                    if std::mem::replace(&mut named[ordinal][doc as usize], true) {
                        return refuse(format!("a document has several values of it, `{}` among them", value()));
                    }
                }
                postings.advance();
            }
        }
        if documents > 1 {
            return refuse(format!("{documents} documents have the value `{}`", value()));
        }
    }
    let nameless: usize = searcher
        .segment_readers()
        .iter()
        .zip(&named)
        .map(|(reader, named)| reader.doc_ids_alive().filter(|&doc| !named[doc as usize]).count())
        .sum();
    if nameless > 0 {
        let have = if nameless == 1 { "1 document has" } else { &format!("{nameless} documents have") };
        return refuse(format!("{have} no value, or one longer than 65,530 bytes"));
    }
    Ok(())
}
