//! What many tantivy programs do: index documents and answer a question, by words alone in `before.rs`, by meaning too in `after.rs`.

use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use adam_examples::{pocket, question};
use adam_plugin::{Embedding, EmbeddingWriter, WriterSettings};
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{STORED, Schema, TEXT, Value};
use tantivy::{TantivyDocument, doc};
use tantivy_dense::{Arm, Dense, Hybrid, HybridQuery, KnnQuery, VectorField, VectorOptions};

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = std::sync::Arc::new(SentenceEncoder::open(&adam_examples::model()?, &EncoderOptions::default())?);
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT);
    let vector = VectorField::add_to(&mut schema, "vector", VectorOptions::cosine(model.dimension()))?;
    let (dense, index) = Dense::create_in_dir(&folder, schema.build())?;

    let embed = vec![Embedding::new(vector.clone(), "{title} {body}".parse()?)];
    let mut writer =
        EmbeddingWriter::new(&dense, index.writer(50_000_000)?, model.clone(), embed, WriterSettings::default())?;
    for (name, text) in pocket()? {
        writer.add_document(doc!(title => name, body => text))?;
    }
    writer.commit()?;

    let searcher = dense.reader(&index)?.searcher();
    let query = QueryParser::for_index(&index, vec![title, body]).parse_query(&question())?;
    let near = KnnQuery::all(&dense, vector, model.encode(&[&question()], TextKind::Query)?.remove(0));
    let query =
        HybridQuery::new(Hybrid::new().arm("words", Arm::text(query), 0.5).arm("meaning", Arm::vector(near), 0.5), 3);
    for (score, address) in searcher.search(&query, &TopDocs::with_limit(3).order_by_score())? {
        let found: TantivyDocument = searcher.doc(address)?;
        println!("{score:.3}  {}", found.get_first(title).and_then(|name| name.as_str()).unwrap_or_default());
    }
    Ok(())
}
