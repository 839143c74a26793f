//! What many tantivy programs do: index documents and answer a question, by words alone in `before.rs`, by meaning too in `after.rs`.

use adam_examples::{pocket, question};
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{STORED, Schema, TEXT, Value};
use tantivy::{Index, IndexWriter, TantivyDocument, doc};

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT);
    let index = Index::create_in_dir(&folder, schema.build())?;

    let mut writer: IndexWriter = index.writer(50_000_000)?;
    for (name, text) in pocket()? {
        writer.add_document(doc!(title => name, body => text))?;
    }
    writer.commit()?;

    let searcher = index.reader()?.searcher();
    let query = QueryParser::for_index(&index, vec![title, body]).parse_query(&question())?;
    for (score, address) in searcher.search(&query, &TopDocs::with_limit(3).order_by_score())? {
        let found: TantivyDocument = searcher.doc(address)?;
        println!("{score:.3}  {}", found.get_first(title).and_then(|name| name.as_str()).unwrap_or_default());
    }
    Ok(())
}
