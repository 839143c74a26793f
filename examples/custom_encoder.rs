//! A text encoder of your own: anything that turns texts into vectors may stand in for an ONNX model, such as a service that
//! you call, or a model in another format. Here it is three-letter pieces of words, hashed: no meaning, but it forgives typing
//! errors, which words do not.
//!
//!     cargo run --release -p adam-examples --example custom_encoder -- "inverted indx"

use std::sync::Arc;

use adam_encoder::{EncoderError, TextEncoder, TextKind};
use adam_examples::{pocket, question};
use adam_plugin::engine::Document;
use adam_plugin::{Engine, Mode, SearchRequest, WriterSettings};

/// Counts the three-letter pieces of a text in 512 buckets.
struct Pieces;

impl TextEncoder for Pieces {
    fn dimension(&self) -> usize {
        512
    }

    // Whatever changes the vectors must change this, or an index would mix what cannot be compared.
    fn fingerprint(&self) -> &str {
        "three-letter pieces in 512 buckets, version 1"
    }

    fn name(&self) -> &str {
        "pieces"
    }

    fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        Ok(texts.iter().map(|text| count(text)).collect())
    }
}

fn count(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; 512];
    for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = format!(" {word} ").chars().collect();
        for piece in letters.windows(3) {
            // FNV-1a, so that the vectors are the same on every machine.
            let bucket =
                piece.iter().fold(0x811c_9dc5u32, |hash, &letter| (hash ^ u32::from(letter)).wrapping_mul(0x0100_0193))
                    % 512;
            vector[bucket as usize] += 1.0;
        }
    }
    // A text without letters: cosine needs some direction.
    vector[0] += f32::EPSILON;
    vector
}

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let encoder = Arc::new(Pieces);
    // The index remembers the fingerprint, and refuses another encoder from now on.
    let engine = Engine::builder(folder.path()).encoder(encoder.clone()).open_or_create()?;
    let mut writer = engine.writer(50_000_000, WriterSettings::default())?;
    for (number, (title, text)) in pocket()?.into_iter().enumerate() {
        writer.update_document(engine.document(Document {
            id: number.to_string(),
            title,
            text,
            ..Document::default()
        })?)?;
    }
    writer.commit()?;
    engine.reload()?;

    for mode in Mode::ALL {
        println!("{mode}");
        for hit in engine.search(&SearchRequest::new(question()).mode(mode).top(3))?.hits {
            println!("  {:.3}  {}", hit.score, hit.title.unwrap_or_default());
        }
    }
    Ok(())
}
