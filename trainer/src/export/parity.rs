//! The written model against its source, on the same texts.
//!
//! The reference reads the source's folder and never the written one: prompts are put before texts here, letters made small here, and the
//! trainer's own forward pass does the rest. The other side is the written folder as `adam` opens it, queries and documents.

use std::cmp::Ordering::{Equal, Less};
use std::fmt;
use std::path::{Path, PathBuf};

use adam_encoder::{EncoderOptions, PairScorer, Precision, SentenceEncoder, TextEncoder, TextKind};
use tch::Tensor;
use tokenizers::TruncationParams;

use super::error::ExportError;
use super::files::{Settings, make_folder};
use super::folder::{Kind, Remove};
use super::head::Head;
use super::tokenizer::read_tokenizer;
use super::weights::Weights;
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::model::{CrossEncoder, Encoder, Pooling, Sequence, Student};
use crate::torch::Machine;

/// Largest difference of two values of unit vectors that is accepted in f32; for scores, of scores divided by the
/// largest one where that is above 1.
pub(super) const LIMIT: f64 = 1e-4;

/// The same for f16 files: measured differences of unit vectors are some 1e-3, and a value that overflowed shows as far more.
pub(super) const LIMIT_F16: f64 = 1e-2;

/// An int8 model below this mean cosine gets a warning.
pub(super) const LEAST_COSINE: f64 = 0.98;

/// Short and long, several scripts, capitals and accents, nothing at all: what a search sees.
const TEXTS: [&str; 27] = [
    "do crows use tools",
    "Do CROWS Use Tools",
    "ÉCOLE, Élève, Ñandú, ΣΊΣΥΦΟΣ, İstanbul, STRASSE, Ǆ",
    "cafe\u{301} ﬁnance ＡＢＣ",
    "Crows bend wire into hooks to reach food that they could not reach otherwise.",
    "0-dimensional biomaterials show inductive properties.",
    "what causes the northern lights",
    "The aurora appears when charged particles from the sun meet the upper atmosphere, mostly near the poles.",
    "symptoms of iron deficiency in adults",
    "Fatigue, pale skin and shortness of breath are common signs of a lack of iron.",
    "aerodynamic heating of a blunt body at hypersonic speed",
    "An experimental study of a wing in a propeller slipstream was made to find the spanwise distribution of lift.",
    "difference between TCP and UDP",
    "fn main() { println!(\"{}\", 1 + 2); }",
    "SELECT name, price FROM items WHERE price < 10 ORDER BY name;",
    "e = mc^2, 3.14159, 1,024 x 768, 50 %",
    "Der Zug nach München fährt heute von Gleis 7 ab.",
    "El agua hierve a cien grados al nivel del mar.",
    "La bibliothèque ferme à dix-huit heures.",
    "東京の天気はどうですか",
    "Погода сегодня хорошая.",
    "متى يفتح المتحف؟",
    "🙂 emoji and ASCII :-)",
    "a",
    "",
    "   spaces   and\ttabs\nand lines   ",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
];

/// How well a file agrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// Texts or pairs compared.
    pub texts: usize,
    /// Largest absolute difference of two values, vectors being scaled to length 1.
    pub max_difference: f64,
    /// Mean cosine of the two vectors of a text; for scores, the correlation of the two lists.
    pub mean_cosine: f64,
    /// The lowest cosine; for scores, the correlation again.
    pub least_cosine: f64,
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "largest difference {:.1e}, mean cosine {:.5}, lowest {:.5} over {} texts",
            self.max_difference, self.mean_cosine, self.least_cosine, self.texts
        )
    }
}

/// Texts and what the source's model makes of them.
pub(super) struct Reference {
    texts: Vec<(String, String)>,
    /// What each text of a sentence encoder is; documents first.
    kinds: Vec<TextKind>,
    rows: Vec<Vec<f32>>,
    kind: Kind,
}

impl Reference {
    /// Runs the trainer's own forward pass over the source's files and weights.
    pub(super) fn new(settings: &Settings<'_>, more: &[String]) -> Result<Self, ExportError> {
        let (kind, source) = (settings.kind, settings.source);
        let long = TEXTS.repeat(40).join(" ");
        let mut singles: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
        singles.push(long);
        singles.extend_from_slice(more);
        let mut kinds = vec![TextKind::Document; singles.len()];
        let texts: Vec<(String, String)> = match kind {
            Kind::Sentence => {
                if settings.query_prompt != settings.document_prompt {
                    kinds.extend(vec![TextKind::Query; singles.len()]);
                    singles.extend_from_within(..);
                }
                singles.into_iter().map(|text| (text, String::new())).collect()
            }
            // Each text with the one after it, so that long and short meet.
            Kind::Pair => {
                (0..singles.len()).map(|at| (singles[at].clone(), singles[(at + 1) % singles.len()].clone())).collect()
            }
        };
        let path = source.root.join("tokenizer.json");
        let fault = |error: &dyn fmt::Display| ExportError::model(&path, format!("cannot encode a text: {error}"));
        let mut tokenizer = read_tokenizer(&source.root)?;
        let cut = TruncationParams { max_length: settings.max_length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut)).map_err(|e| fault(&e))?;
        let read = |prompt: &str, text: &str| -> String {
            let text = format!("{prompt}{text}");
            if source.lower_case { text.chars().flat_map(char::to_lowercase).collect() } else { text }
        };
        let encodings = texts
            .iter()
            .zip(&kinds)
            .map(|((first, second), text_kind)| match (kind, text_kind) {
                (Kind::Sentence, TextKind::Query) => tokenizer.encode(read(settings.query_prompt, first), true),
                (Kind::Sentence, TextKind::Document) => tokenizer.encode(read(settings.document_prompt, first), true),
                (Kind::Pair, _) => tokenizer.encode((read("", first), read("", second)), true),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| fault(&e))?;
        let sequences: Vec<Sequence<'_>> = encodings
            .iter()
            .map(|encoding| Sequence {
                ids: encoding.get_ids().into(),
                second: encoding.get_type_ids().iter().position(|kind| *kind == 1).unwrap_or(encoding.get_ids().len()),
            })
            .collect();
        let rows = forward(&source.root, settings.head, &source.weights, &sequences)
            .map_err(|error| ExportError::Forward(error.to_string()))?;
        Ok(Self { texts, kinds, rows, kind })
    }

    /// Compares one ONNX file. `folder` is the exported folder, `file` a path in it.
    ///
    /// # Errors
    /// When the file does not run, and in f32 when it differs by more than [`LIMIT`].
    pub(super) fn compare(&self, folder: &Path, file: &str, precision: Precision) -> Result<Parity, ExportError> {
        // The encoder chooses among the files it finds, so it is shown a folder with this one only.
        let alone = Remove(sibling(folder, "check"));
        link_with_only(folder, &alone.0, file, precision)?;
        let options = EncoderOptions::default().precision(precision);
        let (parity, worst) = match self.kind {
            Kind::Sentence => {
                let encoder = SentenceEncoder::open(&alone.0, &options)?;
                let texts: Vec<&str> = self.texts.iter().map(|(text, _)| text.as_str()).collect();
                let documents = self.kinds.iter().filter(|kind| **kind == TextKind::Document).count();
                let mut found = encoder.encode(&texts[..documents], TextKind::Document)?;
                found.extend(encoder.encode(&texts[documents..], TextKind::Query)?);
                compare_vectors(&self.rows, &found)
            }
            Kind::Pair => {
                let scorer = PairScorer::open(&alone.0, &options)?;
                let pairs: Vec<(&str, &str)> = self.texts.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                let scores: Vec<Vec<f32>> = scorer.score(&pairs)?.into_iter().map(|score| vec![score]).collect();
                compare_scores(&self.rows, &scores)
            }
        };
        // Written so that a difference that is no number is refused too.
        if precision == Precision::F32 && !matches!(parity.max_difference.partial_cmp(&LIMIT), Some(Less | Equal)) {
            let text = self.texts.get(worst.at).map(|(text, _)| text.chars().take(80).collect());
            return Err(ExportError::Parity {
                file: file.to_owned(),
                difference: parity.max_difference,
                limit: LIMIT,
                text: text.unwrap_or_default(),
            });
        }
        Ok(parity)
    }
}

fn pooling_of(pooling: super::Pooling) -> Pooling {
    match pooling {
        super::Pooling::Mean => Pooling::Mean,
        super::Pooling::Cls => Pooling::Cls,
    }
}

/// The trainer's own forward pass over a model's folder.
fn forward(
    folder: &Path,
    head: &Head,
    weights: &Weights,
    sequences: &[Sequence<'_>],
) -> Result<Vec<Vec<f32>>, TrainError> {
    let limits = BatchLimits { max_tokens: 2048, max_texts: 16, max_padding: 1.0 };
    match head {
        Head::Sentence { pooling, .. } => {
            let mut student = Student::open(folder, Machine::CPU)?;
            student.pooling = pooling_of(*pooling);
            let rows = student.embed_all(sequences, &limits, &mut |_| {})?;
            let width = rows.size().last().copied().unwrap_or(1).max(1) as usize;
            let values: Vec<f32> = Vec::try_from(rows.f_contiguous()?.f_view([-1])?)?;
            Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
        }
        Head::Pair { dense: None, pooling, .. } => {
            let scores = CrossEncoder::open(folder, pooling_of(*pooling), Machine::CPU, 0)?.score_all(
                sequences,
                &limits,
                &mut |_| {},
            )?;
            Ok(scores.into_iter().map(|score| vec![score]).collect())
        }
        Head::Pair { dense: Some(dense), score, .. } => {
            let encoder = Encoder::open(folder, Machine::CPU)?;
            let hidden = encoder.hidden();
            let linear = |name: &str, outputs: usize, x: &Tensor| -> Result<Tensor, TrainError> {
                let weight = Tensor::f_from_slice(&weights.get(&format!("{name}.weight"), &[outputs, hidden])?.values)?
                    .f_view([outputs as i64, hidden as i64])?;
                let bias = Tensor::f_from_slice(&weights.get(&format!("{name}.bias"), &[outputs])?.values)?;
                Ok(x.f_linear(&weight, Some(&bias))?)
            };
            sequences
                .iter()
                .map(|sequence| {
                    let input = encoder.layout().input(&[sequence])?;
                    let tokens = tch::no_grad(|| encoder.forward(&input, encoder.inference()))?;
                    let first = Pooling::Cls.pool_batch(&tokens, &input)?;
                    let inner = linear(dense, hidden, &first)?.f_tanh()?;
                    Ok(Vec::try_from(linear(score, 1, &inner)?.f_view([-1])?)?)
                })
                .collect()
        }
    }
}

/// A folder whose files are those of `folder`, but of its ONNX files only `file`, under the name the encoder looks for.
fn link_with_only(folder: &Path, alone: &Path, file: &str, precision: Precision) -> Result<(), ExportError> {
    let onnx = alone.join("onnx");
    make_folder(&onnx)?;
    for entry in std::fs::read_dir(folder).map_err(ExportError::io(folder))? {
        let path = entry.map_err(ExportError::io(folder))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = alone.join(name);
        if path.is_file() && name != "model.safetensors" {
            link(&path, &target)?;
        } else if name != "onnx" && path.is_dir() {
            make_folder(&target)?;
            let config = path.join("config.json");
            if config.is_file() {
                link(&config, &target.join("config.json"))?;
            }
        }
    }
    let name = match precision {
        Precision::F32 => "model.onnx",
        Precision::F16 => "model_fp16.onnx",
        Precision::Int8 => "model_quantized.onnx",
    };
    link(&folder.join(file), &onnx.join(name))
}

/// Hard-links a file, or copies it where the file system has no links.
fn link(from: &Path, to: &Path) -> Result<(), ExportError> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to).map(|_| ()).map_err(ExportError::io(to))
}

/// A name beside a folder that no other run uses.
pub(super) fn sibling(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{name}.{what}-{}.tmp", std::process::id()))
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

fn unit(row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
    let length = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    row.into_iter().map(|value| value / length).collect()
}

/// The largest difference so far and where it was; one that is no number stays.
#[derive(Default)]
struct Worst {
    value: f64,
    at: usize,
}

impl Worst {
    fn add(&mut self, at: usize, value: f64) {
        if value > self.value || value.is_nan() && !self.value.is_nan() {
            *self = Self { value, at };
        }
    }
}

/// Agreement of vectors.
fn compare_vectors(ours: &[Vec<f32>], found: &[Vec<f32>]) -> (Parity, Worst) {
    let mut worst = Worst::default();
    let mut cosines = Vec::with_capacity(ours.len());
    for (at, (a, b)) in ours.iter().zip(found).enumerate() {
        let (a, b) = (unit(a), unit(b));
        a.iter().zip(&b).for_each(|(x, y)| worst.add(at, (x - y).abs()));
        if a.len() != b.len() {
            worst.add(at, f64::INFINITY);
        }
        cosines.push(cosine(&a, &b));
    }
    if ours.len() != found.len() {
        worst.add(0, f64::INFINITY);
    }
    let parity = Parity {
        texts: ours.len(),
        max_difference: worst.value,
        mean_cosine: cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
        least_cosine: cosines.iter().copied().fold(1.0, f64::min),
    };
    (parity, worst)
}

/// Agreement of scores: differences over the largest score where that is above 1, and correlation.
fn compare_scores(ours: &[Vec<f32>], found: &[Vec<f32>]) -> (Parity, Worst) {
    let list = |rows: &[Vec<f32>]| -> Vec<f64> { rows.iter().flatten().map(|value| f64::from(*value)).collect() };
    let (a, b) = (list(ours), list(found));
    let scale = a.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    let mut worst = Worst::default();
    a.iter().zip(&b).enumerate().for_each(|(at, (x, y))| worst.add(at, (x - y).abs() / scale));
    if a.len() != b.len() {
        worst.add(0, f64::INFINITY);
    }
    let centred = |list: &[f64]| -> Vec<f64> {
        let mean = list.iter().sum::<f64>() / list.len().max(1) as f64;
        list.iter().map(|value| value - mean).collect()
    };
    let correlation = cosine(&centred(&a), &centred(&b));
    let parity =
        Parity { texts: a.len(), max_difference: worst.value, mean_cosine: correlation, least_cosine: correlation };
    (parity, worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_vectors_of_any_length_agree() {
        let (parity, _) = compare_vectors(&[vec![3.0, 4.0], vec![0.0, 0.0]], &[vec![0.6, 0.8], vec![0.0, 0.0]]);
        assert!(parity.max_difference < 1e-7, "{parity}");
    }

    #[test]
    fn what_is_no_number_or_missing_never_agrees() {
        let ours = [vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 0.0]];
        let (parity, worst) = compare_vectors(&ours, &[vec![1.0, 0.0], vec![f32::NAN, 1.0], vec![0.0, 1.0]]);
        assert!(parity.max_difference.is_nan() && worst.at == 1);
        let (parity, _) = compare_vectors(&ours, &[vec![1.0, 0.0]]);
        assert!(parity.max_difference.is_infinite());
        let (parity, _) = compare_scores(&[vec![1.0]], &[vec![f32::NAN]]);
        assert!(parity.max_difference.is_nan());
    }

    #[test]
    fn scores_are_compared_in_proportion() {
        let (parity, worst) = compare_scores(&[vec![10.0], vec![-5.0]], &[vec![10.0], vec![-5.001]]);
        assert!((parity.max_difference - 1e-4).abs() < 1e-6 && worst.at == 1, "{parity}");
        assert!(parity.mean_cosine > 0.9999);
    }
}
