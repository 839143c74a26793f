//! What stands on top of the encoder: a sentence vector, or a score for a pair of texts.

use super::error::ExportError;
use super::graph::Writer;
use super::onnx::Value;
use super::onnx::messages::{Dimension, data_type};

pub use crate::pooling::Pooling;

/// The top of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Head {
    /// Outputs `last_hidden_state` and `sentence_embedding`.
    Sentence {
        /// How tokens are pooled.
        pooling: Pooling,
        /// Whether vectors are scaled to length 1.
        normalised: bool,
    },
    /// Outputs `logits`, one for each pair.
    Pair {
        /// How tokens are pooled.
        pooling: Pooling,
        /// Name of a linear layer with tanh between the pooled vector and the score, without `.weight`.
        dense: Option<String>,
        /// Name of the linear layer that gives the score, without `.weight`.
        score: String,
    },
}

/// Below this many tokens a row counts as having this many, so that an empty row divides by no zero.
const LEAST_COUNT: f32 = 1e-9;
/// Below this length a vector is not scaled up.
const LEAST_LENGTH: f32 = 1e-12;

impl Head {
    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        hidden: &str,
        batch: &Dimension,
        sequence: &Dimension,
    ) -> Result<(), ExportError> {
        let size = writer.architecture.hidden;
        let width = Dimension::Fixed(size as i64);
        match self {
            Self::Sentence { pooling, normalised } => {
                let name = "sentence_embedding";
                if *normalised {
                    let pooled = pool(writer, *pooling, hidden, "pooling/pooled");
                    let graph = &mut writer.graph;
                    let length = graph
                        .node("ReduceL2", "pooling/length", &[&pooled])
                        .ints("axes", &[-1])
                        .int("keepdims", 1)
                        .done();
                    let least = graph.scalar("least_length", LEAST_LENGTH);
                    let length = graph.op("Max", "pooling/length_not_0", &[&length, &least]);
                    graph.op("Div", name, &[&pooled, &length]);
                } else {
                    pool(writer, *pooling, hidden, name);
                }
                let axes = [batch.clone(), sequence.clone(), width.clone()];
                writer.graph.output(hidden, data_type::FLOAT, &axes);
                writer.graph.output(name, data_type::FLOAT, &[batch.clone(), width]);
            }
            Self::Pair { pooling, dense, score } => {
                let mut vector = pool(writer, *pooling, hidden, "pooling/pooled");
                if let Some(dense) = dense {
                    vector = small_linear(writer, dense, &vector, size, "head/dense")?;
                    vector = writer.graph.op("Tanh", "head/tanh", &[&vector]);
                }
                small_linear(writer, score, &vector, 1, "logits")?;
                let axes = [batch.clone(), Dimension::Fixed(1)];
                writer.graph.output("logits", data_type::FLOAT, &axes);
            }
        }
        Ok(())
    }
}

/// A linear layer over one vector a row: kept in f32 always, since it costs next to nothing.
fn small_linear(
    writer: &mut Writer<'_>,
    name: &str,
    input: &str,
    outputs: usize,
    output: &str,
) -> Result<Value, ExportError> {
    let weight = format!("{name}.weight");
    let inputs = writer.architecture.hidden;
    let values = &writer.weights.get(&weight, &[outputs, inputs])?.values;
    let weight = writer.graph.constant(&weight, &[outputs, inputs], values);
    let bias = format!("{name}.bias");
    let values = &writer.weights.get(&bias, &[outputs])?.values;
    let bias = writer.graph.constant(&bias, &[outputs], values);
    Ok(writer.graph.node("Gemm", output, &[input, &weight, &bias]).int("transB", 1).done())
}

fn pool(writer: &mut Writer<'_>, pooling: Pooling, hidden: &str, output: &str) -> Value {
    let graph = &mut writer.graph;
    match pooling {
        Pooling::Cls => {
            let first = graph.scalar("zero", 0i64);
            graph.node("Gather", output, &[hidden, &first]).int("axis", 1).done()
        }
        Pooling::Mean => {
            let mask = graph.cast("pooling/mask", "attention_mask", data_type::FLOAT);
            let axes = graph.list("axes_1", &[1]);
            // [batch, 1, sequence] times [batch, sequence, hidden]: the sum over tokens as one product.
            let row = graph.op("Unsqueeze", "pooling/mask_row", &[&mask, &axes]);
            let sum = graph.op("MatMul", "pooling/sum_row", &[&row, hidden]);
            let sum = graph.op("Squeeze", "pooling/sum", &[&sum, &axes]);
            let count = graph.node("ReduceSum", "pooling/count", &[&mask, &axes]).int("keepdims", 1).done();
            let least = graph.scalar("least_count", LEAST_COUNT);
            let count = graph.op("Max", "pooling/count_not_0", &[&count, &least]);
            graph.op("Div", output, &[&sum, &count])
        }
    }
}
