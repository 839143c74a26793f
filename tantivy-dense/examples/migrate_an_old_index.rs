//! An index that was made without vectors gets them.
//!
//! tantivy fixes which files an index has when it is made, so vectors cannot be put into an old index. Its stored fields can be
//! read into a new one, while the old one goes on answering.
//!
//! `cargo run --release -p tantivy-dense --example migrate_an_old_index`

#[path = "trigrams/mod.rs"]
mod trigrams;

use std::path::Path;

use tantivy::schema::{STORED, Schema, TEXT, Value};
use tantivy::{Index, IndexWriter, TantivyDocument, doc};
use tantivy_dense::{Dense, DenseError, KnnQuery, VectorField, VectorOptions};
use trigrams::{DIMENSION, embed};

/// What your users have: text, stored.
fn old_index(folder: &Path) -> Result<(), DenseError> {
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let index = Index::create_in_dir(folder, schema.build())?;
    let mut writer: IndexWriter = index.writer(50_000_000)?;
    for text in ["Harbours of the north", "Sailing for beginners", "Northern lights", "Knots and splices"] {
        writer.add_document(doc!(title => text))?;
    }
    writer.commit()?;
    Ok(())
}

fn main() -> Result<(), DenseError> {
    let (old, new) = (tempfile::tempdir()?, tempfile::tempdir()?);
    old_index(old.path())?;

    // Opening it with vectors says what is wrong.
    if let Err(error) = Dense::open(old.path()) {
        println!("the old index: {error}\n");
    }

    // 1. The old schema and a vector field. Fields keep their numbers, so that documents can be taken over as they are.
    let source = Index::open_in_dir(old.path())?;
    let mut schema = Schema::builder();
    for (_, entry) in source.schema().fields() {
        // Only what is stored can be read back; look now, not after the old index is gone.
        if !entry.is_stored() {
            println!("field `{}` is not stored and will be empty", entry.name());
        }
        schema.add_field(entry.clone());
    }
    let vector = VectorField::add_to(&mut schema, "title_vector", VectorOptions::cosine(DIMENSION))?;
    let (dense, target) = Dense::create_in_dir(new.path(), schema.build())?;

    // 2. Every live document, with its vector.
    let title = source.schema().get_field("title")?;
    let mut writer = dense.writer(&target, 50_000_000)?;
    let searcher = source.reader()?.searcher();
    for reader in searcher.segment_readers() {
        let store = reader.get_store_reader(10)?;
        for document in store.iter::<TantivyDocument>(reader.alive_bitset()) {
            let mut document = document?;
            let text = document.get_first(title).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            vector.add(&mut document, &embed(&text))?;
            writer.add_document(document)?;
        }
    }
    writer.commit()?;

    // 3. Look before you switch.
    let searcher = dense.reader(&target)?.searcher();
    println!("{} documents taken over; nearest to `north`:", searcher.num_docs());
    for hit in KnnQuery::new(&dense, vector, embed("north"), 2).search(&searcher)? {
        let document: TantivyDocument = searcher.doc(hit.address)?;
        println!(
            "  {:.3}  {}",
            hit.similarity,
            document.get_first(title).and_then(|value| value.as_str()).unwrap_or_default()
        );
    }
    Ok(())
}
