//! Vectors of many texts. What is measured goes through the exported ONNX model on the CPU, and on a GPU through the trainer's own
//! forward pass in f32, which the export has held to be the same to 1e-4. Mining and frozen voices use the trainer's forward pass in
//! the precision of training.

use super::context::{Context, key_of, model_key};
use super::scorer::mask_name;
use super::vectors::Vectors;
use crate::data::Passages;
use crate::data::batches::BatchLimits;
use crate::data::tokens::tokenize;
use crate::error::TrainError;
use crate::model::{Sequence, Student};
use crate::torch::Machine;
use adam_encoder::{EncoderOptions, SentenceEncoder, TextEncoder, TextKind};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::atomic::Ordering;
use tch::Kind;

/// A model that makes vectors of texts.
pub(crate) struct CorpusEncoder {
    exported: Option<SentenceEncoder>,
    device: Option<OnDevice>,
    fingerprint: String,
    dimension: usize,
}

/// The model in the trainer's own forward pass.
struct OnDevice {
    student: Student,
    limits: BatchLimits,
}

/// Opens an exported model, whose vectors are those that will be served.
pub(crate) fn encoder(context: &Context<'_>, folder: &Path) -> Result<CorpusEncoder, TrainError> {
    let options =
        EncoderOptions::default().threads(context.config.run.threads).batch_tokens(context.config.eval.batch_tokens);
    let exported = SentenceEncoder::open(folder, &options)?;
    let device = if context.machine.device.is_cuda() {
        // In f32: what is measured must not depend on where.
        let student = Student::open(folder, Machine { compute: Kind::Float, ..context.machine })?;
        Some(OnDevice::of(student, 1 << 17))
    } else {
        None
    };
    let (fingerprint, dimension) = (exported.fingerprint().to_owned(), exported.dimension());
    Ok(CorpusEncoder { exported: Some(exported), device, fingerprint, dimension })
}

/// Opens a model as training has it, in the trainer's own forward pass and precision: for mining and for frozen voices, where speed
/// matters more than the last digit.
pub(crate) fn trained_encoder(context: &Context<'_>, folder: &Path) -> Result<CorpusEncoder, TrainError> {
    let student = context.student(folder)?;
    let head = (student.pooling, student.normalised, &student.prompts.query, &student.prompts.document);
    let fingerprint = key_of(&[&"trained", &model_key(folder)?, &context.machine.describe(), &head]);
    let tokens = if context.machine.device.is_cuda() { 1 << 17 } else { 8192 };
    let dimension = student.encoder.hidden();
    let device = Some(OnDevice::of(student, tokens));
    Ok(CorpusEncoder { exported: None, device, fingerprint, dimension })
}

impl CorpusEncoder {
    /// The model as it will be served; none where it is not exported.
    pub(crate) fn exported(&self) -> Option<&dyn TextEncoder> {
        self.exported.as_ref().map(|exported| exported as &dyn TextEncoder)
    }

    /// Identifies the function from text to vector.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How its tokenizer writes the mask token, where it has one.
    pub(crate) fn mask_name(&self) -> Option<String> {
        self.device.as_ref().and_then(|device| mask_name(&device.student.tokens))
    }

    /// One vector a text, in the order given; `done` hears how many texts are finished.
    pub(crate) fn encode(
        &self,
        texts: &[&str],
        kind: TextKind,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        match (&self.device, &self.exported) {
            (Some(device), _) => device.encode(texts, kind, done),
            (None, Some(exported)) => Ok(exported.encode_with_progress(texts, kind, done)?),
            (None, None) => Err(TrainError::internal("an encoder without a model")),
        }
    }

    /// Texts encoded between two looks at the stop flag.
    fn chunk(&self) -> usize {
        match &self.device {
            Some(device) if device.student.encoder.machine().device.is_cuda() => 8192,
            _ => 512,
        }
    }
}

impl OnDevice {
    fn of(student: Student, tokens: usize) -> Self {
        Self { student, limits: BatchLimits { max_tokens: tokens, max_texts: 8192, max_padding: 0.1 } }
    }

    fn encode(&self, texts: &[&str], kind: TextKind, done: &mut dyn FnMut(usize)) -> Result<Vec<Vec<f32>>, TrainError> {
        let student = &self.student;
        let prompt = match kind {
            TextKind::Query => &student.prompts.query,
            TextKind::Document => &student.prompts.document,
        };
        let text = |i: usize| format!("{prompt}{}", texts[i]).into();
        let length = student.max_length.min(student.encoder.longest());
        let store = tokenize(student.tokens.tokenizer(), texts.len(), &text, length as u32)?;
        let sequences: Vec<Sequence<'_>> =
            (0..texts.len()).map(|i| student.tokens.single(store.get(i), length)).collect();
        let mut finished = 0;
        let rows = student.embed_all(&sequences, &self.limits, &mut |n| {
            finished += n;
            done(finished);
        })?;
        Ok(Vec::try_from(rows.f_to_device(tch::Device::Cpu)?)?)
    }
}

/// Vectors of texts, from `path` when they are there already. Texts are sorted by length first: batches of equal length waste nothing.
pub(crate) fn encode(
    context: &Context<'_>,
    encoder: &CorpusEncoder,
    texts: &[String],
    kind: TextKind,
    path: &Path,
    name: &str,
) -> Result<Vectors, TrainError> {
    let mut hash = Sha256::new();
    hash.update(encoder.fingerprint().as_bytes());
    hash.update([u8::from(kind == TextKind::Query)]);
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let key: [u8; 32] = hash.finalize().into();
    if path.exists() {
        match Vectors::read(path, &key) {
            Ok(vectors) => return Ok(vectors),
            Err(reason) => tracing::info!("{}: made again: {reason}", path.display()),
        }
    }
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(texts[i].len()), i));
    let dimension = encoder.dimension;
    let mut values = vec![0f32; texts.len() * dimension];
    let mut bar = context.reporter.bar(name, texts.len(), 0);
    let mut done = 0;
    for chunk in order.chunks(encoder.chunk()) {
        if context.stop.load(Ordering::Relaxed) {
            return Err(TrainError::Interrupted);
        }
        let members: Vec<&str> = chunk.iter().map(|&i| texts[i].as_str()).collect();
        let vectors = encoder.encode(&members, kind, &mut |n| bar.set(done + n))?;
        for (&place, vector) in chunk.iter().zip(vectors) {
            values[place * dimension..(place + 1) * dimension].copy_from_slice(&vector);
        }
        done += chunk.len();
    }
    drop(bar);
    let vectors = Vectors { dimension, values };
    vectors.write(path, &key)?;
    Ok(vectors)
}

/// Vectors of all passages and of all queries, training ones first, kept in a folder.
///
/// # Errors
/// As [`encode`].
pub(crate) fn corpus_vectors(
    context: &Context<'_>,
    encoder: &CorpusEncoder,
    folder: &Path,
) -> Result<(Vectors, Vectors), TrainError> {
    let texts = passage_texts(&context.data.passages);
    let passages = encode(context, encoder, &texts, TextKind::Document, &folder.join("passages.vectors"), "encode")?;
    let texts: Vec<String> = context.data.all_queries().map(|q| q.text.clone()).collect();
    let queries = encode(context, encoder, &texts, TextKind::Query, &folder.join("queries.vectors"), "queries")?;
    Ok((passages, queries))
}

/// The texts of the data's passages.
pub(crate) fn passage_texts(passages: &Passages) -> Vec<String> {
    (0..passages.len() as u32).map(|p| passages.full_text(p).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{ExportOptions, export};

    /// What a GPU does, on the CPU: the trainer's forward pass gives the vectors of the exported file, prompts and cut texts too.
    #[test]
    fn both_ways_give_the_same_vectors() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("student");
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert");
        let options = ExportOptions {
            int8: false,
            f16: false,
            query_prompt: Some("find the ".to_owned()),
            ..ExportOptions::new(base, &folder)
        };
        export(&options).unwrap();
        let exported = SentenceEncoder::open(&folder, &EncoderOptions::default()).unwrap();
        let long = "the crow bends wire to a hook ".repeat(40);
        let texts = ["crow tool", "", &long, "aurora light north pole", "a"];
        for packed in [false, true] {
            let device = OnDevice::of(Student::open(&folder, Machine { packed, ..Machine::CPU }).unwrap(), 64);
            for kind in [TextKind::Query, TextKind::Document] {
                let mut last = 0;
                let found = device.encode(&texts, kind, &mut |n| last = n).unwrap();
                assert_eq!(last, texts.len());
                let expected = exported.encode(&texts, kind).unwrap();
                for (at, (a, b)) in found.iter().zip(&expected).enumerate() {
                    let off = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0f32, f32::max);
                    assert!(off < 1e-4, "text {at}, {kind:?}: {off}");
                }
            }
        }
        let both = [TextKind::Query, TextKind::Document].map(|kind| exported.encode(&texts[..1], kind).unwrap());
        assert_ne!(both[0], both[1], "the prompt is read");
    }
}
