//! Content hashes: has a document changed, and has the text that is embedded changed?
//!
//! Both are kept as 64-bit numbers in fast fields of the document. They are the first bytes of a SHA-256: of the
//! document's fields, and of the model's fingerprint with the text. Two contents of the same document would be mistaken
//! for one another once in 10^19 changes.

use sha2::{Digest, Sha256};
use tantivy::TantivyDocument;
use tantivy::schema::document::Document;
use tantivy::schema::{FAST, Field, Schema, SchemaBuilder};

use crate::error::PluginError;

const DOCUMENT: &str = "adam_document_hash";
const TEXT: &str = "adam_text_hash";

/// The two hidden fields that let a writer see whether a document has changed since the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashFields {
    pub(crate) document: Field,
    pub(crate) text: Field,
}

impl HashFields {
    /// Declares the fields, `adam_document_hash` and `adam_text_hash`: two fast `u64`s.
    pub fn add_to(schema: &mut SchemaBuilder) -> Self {
        Self { document: schema.add_u64_field(DOCUMENT, FAST), text: schema.add_u64_field(TEXT, FAST) }
    }

    /// The fields of a schema that has them.
    ///
    /// # Errors
    /// When one is missing.
    pub fn from_schema(schema: &Schema) -> Result<Self, PluginError> {
        let find = |name: &str| {
            schema
                .get_field(name)
                .map_err(|_| PluginError::field(name, "is missing; declare it with `HashFields::add_to`"))
        };
        Ok(Self { document: find(DOCUMENT)?, text: find(TEXT)? })
    }

    pub(crate) fn is_hash(name: &str) -> bool {
        name == DOCUMENT || name == TEXT
    }

    pub(crate) fn columns() -> (&'static str, &'static str) {
        (DOCUMENT, TEXT)
    }
}

/// Hash of the model and the texts that it embeds.
pub(crate) fn of_texts(fingerprint: &str, texts: &[(Field, Option<String>)]) -> u64 {
    let mut hash = Sha256::new_with_prefix(b"adam text 1\0");
    hash.update(fingerprint.as_bytes());
    for (field, text) in texts {
        hash.update([0, u8::from(text.is_some())]);
        hash.update(field.field_id().to_le_bytes());
        hash.update((text.as_ref().map_or(0, String::len) as u64).to_le_bytes());
        hash.update(text.as_deref().unwrap_or("").as_bytes());
    }
    first_bytes(hash)
}

/// Hash of a document's fields, whatever their order, together with what is embedded.
pub(crate) fn of_document(schema: &Schema, document: &TantivyDocument, text: u64) -> u64 {
    let mut hash = Sha256::new_with_prefix(b"adam document 1\0");
    hash.update(text.to_le_bytes());
    hash.update(document.to_json(schema).as_bytes());
    first_bytes(hash)
}

fn first_bytes(hash: Sha256) -> u64 {
    let bytes = hash.finalize();
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tantivy::schema::STRING;

    #[test]
    fn hashes_see_every_change() {
        let mut schema = Schema::builder();
        let a = schema.add_text_field("a", STRING);
        let b = schema.add_text_field("b", STRING);
        let schema = schema.build();
        let document = |values: &[(Field, &str)]| {
            let mut document = TantivyDocument::new();
            for (field, value) in values {
                document.add_text(*field, value);
            }
            of_document(&schema, &document, 1)
        };
        assert_eq!(document(&[(a, "x"), (b, "y")]), document(&[(b, "y"), (a, "x")]));
        assert_ne!(document(&[(a, "x"), (b, "y")]), document(&[(a, "y"), (b, "x")]));
        assert_ne!(document(&[(a, "x")]), document(&[(a, "x"), (a, "x")]));
        let text = |fingerprint, texts: &[Option<&str>]| {
            let texts: Vec<_> = texts.iter().map(|text| (a, text.map(str::to_owned))).collect();
            of_texts(fingerprint, &texts)
        };
        assert_eq!(text("m", &[Some("t")]), text("m", &[Some("t")]));
        assert_ne!(text("m", &[Some("t")]), text("n", &[Some("t")]));
        assert_ne!(text("m", &[Some("ab"), Some("c")]), text("m", &[Some("a"), Some("bc")]));
        assert_ne!(text("m", &[None]), text("m", &[Some("")]));
    }
}
