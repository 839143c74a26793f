//! Encodes a query and a few texts, and prints how similar they are.
//!
//!     cargo run --release -p adam-encoder --example similarity -- MODEL_FOLDER

use std::path::PathBuf;

use adam_encoder::{EncoderOptions, Hub, SentenceEncoder, TextEncoder, TextKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(model) = std::env::args().nth(1) else {
        eprintln!(
            "usage: similarity MODEL (a folder in sentence-transformers layout with ONNX, or a Hugging Face name)"
        );
        std::process::exit(2);
    };
    let folder: PathBuf = Hub::from_environment().resolve(&model)?;
    let encoder = SentenceEncoder::open(&folder, &EncoderOptions::default())?;
    println!(
        "{}: {} values, texts up to {} tokens, {}",
        encoder.name(),
        encoder.dimension(),
        encoder.max_length(),
        encoder.model_file().display()
    );

    let query = "Can birds use tools?";
    let texts = [
        "New Caledonian crows bend wire into hooks to reach food.",
        "Parrots crack nuts with stones held in the claw.",
        "Ravens begin to nest in late winter.",
        "Iron gives blood its red colour.",
    ];
    let asked = encoder.encode(&[query], TextKind::Query)?;
    let found = encoder.encode(&texts, TextKind::Document)?;
    println!("{query}");
    for (text, vector) in texts.iter().zip(&found) {
        println!("  {:.3}  {text}", cosine(&asked[0], vector));
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}
