//! Indexes that tests begin with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_plugin::engine::Document;
use adam_plugin::{Engine, WriterSettings};
use tantivy::schema::{FAST, INDEXED, STORED, STRING, Schema, TEXT};
use tantivy::{Index, doc};

use super::Words;

pub const MEMORY: usize = 15_000_000;

pub const EXTENSIONS: [&str; 7] = ["term", "idx", "pos", "store", "fast", "fieldnorm", "vec"];

/// An index with two segments and a deletion.
pub fn index(home: &Path, name: &str, words: &[&str]) -> PathBuf {
    let path = home.join(name);
    let encoder = Arc::new(Words::new());
    let engine = Engine::builder(&path).encoder(encoder).open_or_create().unwrap();
    let mut writer = engine.writer(15_000_000, WriterSettings::default()).unwrap();
    for (number, word) in words.iter().enumerate() {
        let text = format!("{word} everyone reads {word}");
        let document = Document { id: format!("d{number}"), text, ..Document::default() };
        writer.update_document(engine.document(document).unwrap()).unwrap();
        if number % 3 == 2 {
            writer.commit().unwrap();
        }
    }
    writer.delete_term(engine.key_term("d1")).unwrap();
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    path
}

pub const BIRDS: [&str; 6] = ["crow", "raven", "jay", "magpie", "rook", "jackdaw"];
pub const TREES: [&str; 6] = ["oak", "ash", "elm", "beech", "birch", "maple"];

pub fn files(index: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// An index as any tantivy program makes one: key, two texts, a number, and a field that is not stored.
pub fn old_index(path: &Path, documents: usize) {
    let mut schema = Schema::builder();
    let sku = schema.add_text_field("sku", STRING | STORED);
    let name = schema.add_text_field("name", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT | STORED);
    let price = schema.add_u64_field("price", FAST | INDEXED | STORED);
    let hidden = schema.add_text_field("hidden", TEXT);
    std::fs::create_dir_all(path).unwrap();
    let index = Index::create_in_dir(path, schema.build()).unwrap();
    let mut writer = index.writer_with_num_threads(1, MEMORY).unwrap();
    for number in 0..documents {
        let topic = ["crow", "iron", "comet"][number % 3];
        writer
            .add_document(doc!(
                sku => format!("s{number}"),
                name => format!("{topic} item {number}"),
                body => format!("all about {topic} and number{number}"),
                price => number as u64,
                hidden => "secret",
            ))
            .unwrap();
    }
    writer.commit().unwrap();
    writer.delete_term(tantivy::Term::from_field_text(sku, "s1"));
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
}

/// A shop's index, with fields of every type that are fast and not stored.
pub fn shop(path: &Path) {
    let mut schema = Schema::builder();
    let sku = schema.add_text_field("sku", STRING | STORED);
    let name = schema.add_text_field("name", TEXT | STORED);
    let brand = schema.add_text_field("brand", STRING | FAST);
    let stock = schema.add_u64_field("stock", FAST | INDEXED);
    let change = schema.add_i64_field("change", FAST | INDEXED);
    let price = schema.add_f64_field("price", FAST | INDEXED | STORED);
    let sold = schema.add_bool_field("sold", FAST | INDEXED);
    let day = schema.add_date_field("day", FAST | INDEXED);
    let address = schema.add_ip_addr_field("address", FAST | INDEXED);
    let kind = schema.add_facet_field("kind", tantivy::schema::FacetOptions::default());
    let code = schema.add_bytes_field("code", FAST);
    let hidden = schema.add_text_field("hidden", TEXT);
    std::fs::create_dir_all(path).unwrap();
    let index = Index::create_in_dir(path, schema.build()).unwrap();
    let mut writer = index.writer_with_num_threads::<tantivy::TantivyDocument>(1, MEMORY).unwrap();
    for number in 0..6u64 {
        let mut document = doc!(
            sku => format!("s{number}"), name => "brass kettle", brand => "acme", brand => format!("b{number}"),
            stock => number, change => -(number as i64), price => number as f64 + 0.5, sold => number % 2 == 0,
            kind => tantivy::schema::Facet::from(&format!("/shop/k{number}")), hidden => "secret",
        );
        document.add_date(day, tantivy::DateTime::from_timestamp_secs(1_700_000_000 + number as i64));
        document.add_ip_addr(address, format!("::{number}").parse().unwrap());
        document.add_bytes(code, &[number as u8, 255]);
        writer.add_document(document).unwrap();
    }
    writer.add_document(doc!(sku => "bare", name => "nothing but a name")).unwrap();
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
}
