//! A first index with vectors: declare, add, commit, search, read back.
//!
//! `cargo run --release -p tantivy-dense --example first_index`

#[path = "trigrams/mod.rs"]
mod trigrams;

use tantivy::TantivyDocument;
use tantivy::schema::{STORED, Schema, TEXT, Value};
use tantivy_dense::{Dense, DenseError, KnnQuery, VectorField, VectorOptions};
use trigrams::{DIMENSION, embed};

fn main() -> Result<(), DenseError> {
    // 1. A vector field is declared like any other. Dimension and metric are part of the schema: an index can never be
    //    opened with another idea of them.
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let vector = VectorField::add_to(&mut schema, "title_vector", VectorOptions::cosine(DIMENSION))?;

    // 2. `Dense` goes with the index: it writes the vectors, and keeps them open for searches.
    let folder = tempfile::tempdir()?;
    let (dense, index) = Dense::create_in_dir(folder.path(), schema.build())?;

    // 3. Documents are written as ever. `add` refuses a wrong vector here, where you can do something about it.
    let mut writer = dense.writer(&index, 50_000_000)?;
    for text in ["Gardening in dry summers", "A gardener's handbook", "Bread without an oven", "Summer bread and cakes"]
    {
        let mut document = TantivyDocument::new();
        document.add_text(title, text);
        vector.add(&mut document, &embed(text))?;
        writer.add_document(document)?;
    }
    // Vectors become visible, and durable, with the commit, as everything else does.
    writer.commit()?;

    // 4. A reader made by `dense` has every segment's vectors open before it hands out a searcher.
    let searcher = dense.reader(&index)?.searcher();
    for question in ["garden", "baking breads"] {
        println!("nearest to `{question}`:");
        for hit in KnnQuery::new(&dense, vector.clone(), embed(question), 2).search(&searcher)? {
            let document: TantivyDocument = searcher.doc(hit.address)?;
            let title = document.get_first(title).and_then(|value| value.as_str()).unwrap_or_default();
            println!("  {:.3}  {title}", hit.similarity);
            // The vector itself is there too.
            let read = dense.vector(&searcher, &vector, hit.address)?;
            assert_eq!(read.map(|vector| vector.len()), Some(DIMENSION));
        }
    }
    Ok(())
}
