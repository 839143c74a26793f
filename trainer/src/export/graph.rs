//! The graph of an encoder, from input ids to `last_hidden_state`, in standard operators (opset 17) and, with
//! [`Form::Fused`], in ONNX Runtime's own fused ones.
//!
//! Both forms take the same weights and give the same names to inputs and outputs. What comes after
//! `last_hidden_state` is in [`head`](super::head).

use std::collections::HashMap;

use prost::Message;

use super::architecture::{Activation, Architecture, Family, LayerNames};
use super::error::ExportError;
use super::head::Head;
use super::onnx::messages::{Dimension, ModelProto, data_type};
use super::onnx::{GraphBuilder, Value};
use super::quantise;
use super::weights::Weights;

/// Added to the attention scores of padding. Finite, so that a row that is all padding gives numbers.
pub(super) const MASKED: f32 = f32::MIN;

/// The same in 16 bits, whose lowest number is -65504: so far from it that a score can be added.
const MASKED_F16: f32 = -30_000.0;

/// protobuf holds less than 2 GiB; some room is left for the nodes.
const FILE_LIMIT: usize = (2 << 30) - (16 << 20);

/// Which operators a graph is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Standard ones: runs everywhere.
    Standard,
    /// ONNX Runtime's fused ones for CPU and CUDA.
    Fused,
}

/// How weights are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, for GPUs; outputs and what comes after the encoder stay in 32 bits.
    F16,
    /// Signed 8-bit weights; activations quantised as they come.
    Int8,
}

/// Writes one model file.
pub(crate) fn write(
    architecture: &Architecture,
    weights: &Weights,
    head: &Head,
    form: Form,
    numbers: Numbers,
) -> Result<Vec<u8>, ExportError> {
    let model = model(architecture, weights, head, form, numbers)?;
    let bytes = model.encode_to_vec();
    Ok(bytes)
}

/// The model as messages.
pub(crate) fn model(
    architecture: &Architecture,
    weights: &Weights,
    head: &Head,
    form: Form,
    numbers: Numbers,
) -> Result<ModelProto, ExportError> {
    let mut writer =
        Writer { graph: GraphBuilder::default(), architecture, weights, form, numbers, quantised: HashMap::new() };
    let batch = Dimension::Named("batch_size".to_owned());
    let sequence = Dimension::Named("sequence_length".to_owned());
    let mut inputs = vec!["input_ids", "attention_mask"];
    if architecture.takes_types() {
        inputs.push("token_type_ids");
    }
    for name in inputs {
        writer.graph.input(name, data_type::INT64, &[batch.clone(), sequence.clone()]);
    }
    let hidden = writer.encoder()?;
    head.write(&mut writer, &hidden, &batch, &sequence)?;
    if writer.graph.constant_bytes() > FILE_LIMIT {
        return Err(ExportError::model(
            weights.path(),
            format!("makes an ONNX file of {} bytes; one file holds less than 2 GiB", writer.graph.constant_bytes()),
        ));
    }
    let name = format!("{}-encoder", architecture.model_type);
    Ok(writer.graph.finish(&name, &[]))
}

/// Everything needed while writing one graph.
pub(super) struct Writer<'a> {
    pub(super) graph: GraphBuilder,
    pub(super) architecture: &'a Architecture,
    pub(super) weights: &'a Weights,
    pub(super) form: Form,
    pub(super) numbers: Numbers,
    /// Activations that have been quantised already: integers, scale, zero point.
    quantised: HashMap<Value, [Value; 3]>,
}

impl Writer<'_> {
    fn encoder(&mut self) -> Result<Value, ExportError> {
        match self.form {
            Form::Standard => {
                let mut hidden = self.embeddings()?;
                let bias = self.attention_bias()?;
                for layer in 0..self.architecture.layers {
                    hidden = self.standard_layer(layer, &hidden, &bias)?;
                }
                Ok(match self.numbers {
                    Numbers::F16 => self.graph.cast("last_hidden_state", &hidden, data_type::FLOAT),
                    Numbers::F32 | Numbers::Int8 => hidden,
                })
            }
            Form::Fused => self.fused_encoder(),
        }
    }

    /// Token, position and type vectors added up and normalised.
    pub(super) fn embeddings(&mut self) -> Result<Value, ExportError> {
        let words = self.word_vectors()?;
        let positions = self.position_vectors()?;
        let mut sum = self.graph.op("Add", "embeddings/with_positions", &[&words, &positions]);
        if self.architecture.takes_types() {
            let table = self.table("embeddings.token_type_embeddings.weight", self.architecture.types)?;
            let types = self.graph.op("Gather", "embeddings/types", &[&table, "token_type_ids"]);
            sum = self.graph.op("Add", "embeddings/with_types", &[&sum, &types]);
        }
        self.normalise("embeddings.LayerNorm", "embeddings", &sum)
    }

    fn word_vectors(&mut self) -> Result<Value, ExportError> {
        let (rows, width) = (self.architecture.vocabulary, self.architecture.hidden);
        let name = "embeddings.word_embeddings.weight";
        match self.numbers {
            Numbers::F32 | Numbers::F16 => {
                let table = self.table(name, rows)?;
                Ok(self.graph.op("Gather", "embeddings/words", &[&table, "input_ids"]))
            }
            Numbers::Int8 => {
                let made = quantise::rows(&self.weights.get(name, &[rows, width])?.values, width);
                let table = self.graph.constant(&format!("{name}_int8"), &[rows, width], &made.integers);
                let scales = self.graph.constant(&format!("{name}_scale"), &[rows, 1], &made.scales);
                let integers = self.graph.op("Gather", "embeddings/word_integers", &[&table, "input_ids"]);
                let floats = self.graph.cast("embeddings/word_floats", &integers, data_type::FLOAT);
                let scale = self.graph.op("Gather", "embeddings/word_scales", &[&scales, "input_ids"]);
                Ok(self.graph.op("Mul", "embeddings/words", &[&floats, &scale]))
            }
        }
    }

    /// `[sequence, hidden]` where positions count from 0; `[batch, sequence, hidden]` where they depend on the tokens.
    fn position_vectors(&mut self) -> Result<Value, ExportError> {
        let table = self.position_table()?;
        if self.architecture.position_offset() == 0 {
            let graph = &mut self.graph;
            let length = graph.node("Shape", "embeddings/length", &["input_ids"]).int("start", 1).int("end", 2).done();
            let zero = graph.list("first", &[0]);
            Ok(graph.op("Slice", "embeddings/positions", &[&table, &zero, &length, &zero]))
        } else {
            let ids = self.position_ids();
            Ok(self.graph.op("Gather", "embeddings/positions", &[&table, &ids]))
        }
    }

    /// The position table; where a model has one token type only, that type's vector is the same for every token and
    /// is added to the positions here.
    pub(super) fn position_table(&mut self) -> Result<Value, ExportError> {
        let (rows, width) = (self.architecture.positions, self.architecture.hidden);
        let name = "embeddings.position_embeddings.weight";
        let mut values = self.weights.get(name, &[rows, width])?.values.clone();
        let types = self.architecture.types;
        if types > 0 && !self.architecture.takes_types() {
            let types = self.weights.get("embeddings.token_type_embeddings.weight", &[types, width])?;
            for row in values.chunks_exact_mut(width) {
                row.iter_mut().zip(&types.values).for_each(|(value, add)| *value += add);
            }
        }
        Ok(self.floats(name, &[rows, width], &values))
    }

    /// Positions as RoBERTa and MPNet count them: tokens other than padding are numbered from the padding token's
    /// number plus one, padding has the padding token's number.
    pub(super) fn position_ids(&mut self) -> Value {
        let graph = &mut self.graph;
        let pad = graph.scalar("pad_id", self.architecture.pad_id);
        let axis = graph.scalar("axis_1", 1i64);
        let padding = graph.op("Equal", "embeddings/is_padding", &["input_ids", &pad]);
        let token = graph.op("Not", "embeddings/is_token", &[&padding]);
        let token = graph.cast("embeddings/token_counts", &token, data_type::INT64);
        let count = graph.op("CumSum", "embeddings/counted", &[&token, &axis]);
        let count = graph.op("Mul", "embeddings/counted_tokens", &[&count, &token]);
        graph.op("Add", "embeddings/position_ids", &[&count, &pad])
    }

    /// What is added to the attention scores: `[batch, 1, 1, sequence]`, or with a relative bias
    /// `[batch, heads, sequence, sequence]`.
    fn attention_bias(&mut self) -> Result<Value, ExportError> {
        let (one, masked) = match self.numbers {
            Numbers::F16 => (self.number("one", 1.0), self.number("masked", MASKED_F16)),
            Numbers::F32 | Numbers::Int8 => (self.number("one", 1.0), self.number("masked", MASKED)),
        };
        let element = self.element();
        let graph = &mut self.graph;
        let mask = graph.cast("mask/float", "attention_mask", element);
        let axes = graph.list("axes_1_2", &[1, 2]);
        let mask = graph.op("Unsqueeze", "mask/expanded", &[&mask, &axes]);
        let absent = graph.op("Sub", "mask/absent", &[&one, &mask]);
        let bias = graph.op("Mul", "mask/bias", &[&absent, &masked]);
        if self.architecture.family != Family::MpNet {
            return Ok(bias);
        }
        let relative = self.relative_bias()?;
        Ok(self.graph.op("Add", "mask/with_relative", &[&bias, &relative]))
    }

    /// MPNet's bias for this length, `[1, heads, sequence, sequence]`: a table over distances, looked up at j - i.
    pub(super) fn relative_bias(&mut self) -> Result<Value, ExportError> {
        let longest = self.architecture.longest();
        let values = self.architecture.relative_bias(self.weights)?;
        let dims = [1, self.architecture.heads, 2 * longest - 1];
        let table = self.floats("encoder.relative_attention_bias.by_distance", &dims, &values);
        let graph = &mut self.graph;
        let length = graph.node("Shape", "relative/length", &["input_ids"]).int("start", 1).int("end", 2).done();
        let first = graph.list("first", &[0]);
        let length = graph.op("Squeeze", "relative/length_scalar", &[&length, &first]);
        let zero = graph.scalar("zero", 0i64);
        let step = graph.scalar("step", 1i64);
        let keys = graph.op("Range", "relative/keys", &[&zero, &length, &step]);
        let axes = graph.list("axes_1", &[1]);
        let queries = graph.op("Unsqueeze", "relative/queries", &[&keys, &axes]);
        let distance = graph.op("Sub", "relative/distance", &[&keys, &queries]);
        let middle = graph.scalar("relative/middle", longest as i64 - 1);
        let index = graph.op("Add", "relative/index", &[&distance, &middle]);
        Ok(graph.node("Gather", "relative/bias", &[&table, &index]).int("axis", 2).done())
    }

    fn standard_layer(&mut self, layer: usize, input: &str, bias: &str) -> Result<Value, ExportError> {
        let names = self.architecture.layer(layer);
        let attended = self.standard_attention(layer, &names, input, bias)?;
        let (hidden, intermediate) = (self.architecture.hidden, self.architecture.intermediate);
        let output = self.linear(&names.attention_output, &attended, hidden, hidden)?;
        let at = |part: &str| format!("layer.{layer}/{part}");
        let sum = self.graph.op("Add", &at("attention/residual"), &[&output, input]);
        let middle = self.normalise(&names.attention_norm, &at("attention"), &sum)?;
        let up = self.linear(&names.up, &middle, hidden, intermediate)?;
        let active = self.activation(&at("activation"), &up);
        let down = self.linear(&names.down, &active, intermediate, hidden)?;
        let sum = self.graph.op("Add", &at("residual"), &[&down, &middle]);
        let name = self.layer_output(layer);
        self.normalise(&names.output_norm, &name, &sum)
    }

    /// What a layer's result is called; the last one's is the model's first output, unless that is still to be cast.
    pub(super) fn layer_output(&self, layer: usize) -> String {
        if layer + 1 == self.architecture.layers && self.numbers != Numbers::F16 {
            "last_hidden_state".to_owned()
        } else {
            format!("layer.{layer}/output")
        }
    }

    fn standard_attention(
        &mut self,
        layer: usize,
        names: &LayerNames,
        input: &str,
        bias: &str,
    ) -> Result<Value, ExportError> {
        let (hidden, heads) = (self.architecture.hidden, self.architecture.heads);
        let width = hidden / heads;
        let at = |part: &str| format!("layer.{layer}/attention/{part}");
        let query = self.linear(&names.query, input, hidden, hidden)?;
        let key = self.linear(&names.key, input, hidden, hidden)?;
        let value = self.linear(&names.value, input, hidden, hidden)?;
        let scale = self.number("attention_scale", 1.0 / (width as f32).sqrt());
        // In 16 bits a product of unscaled queries and keys could overflow.
        let scale_first = self.numbers == Numbers::F16;
        let graph = &mut self.graph;
        // 0 keeps the size of an axis.
        let split = graph.list("split_heads", &[0, 0, heads as i64, width as i64]);
        let join = graph.list("join_heads", &[0, 0, hidden as i64]);
        let mut heads_of = |value: &str, name: &str, order: [i64; 4]| {
            let parts = graph.op("Reshape", &at(&format!("{name}_parts")), &[value, &split]);
            graph.node("Transpose", &at(name), &[&parts]).ints("perm", &order).done()
        };
        let mut query = heads_of(&query, "query", [0, 2, 1, 3]);
        let key = heads_of(&key, "key", [0, 2, 3, 1]);
        let value = heads_of(&value, "value", [0, 2, 1, 3]);
        if scale_first {
            query = graph.op("Mul", &at("scaled"), &[&query, &scale]);
        }
        let mut scores = graph.op("MatMul", &at("products"), &[&query, &key]);
        if !scale_first {
            scores = graph.op("Mul", &at("scaled"), &[&scores, &scale]);
        }
        let scores = graph.op("Add", &at("scores"), &[&scores, bias]);
        let shares = graph.node("Softmax", &at("shares"), &[&scores]).int("axis", -1).done();
        let mixed = graph.op("MatMul", &at("mixed"), &[&shares, &value]);
        let mixed = graph.node("Transpose", &at("by_token"), &[&mixed]).ints("perm", &[0, 2, 1, 3]).done();
        Ok(graph.op("Reshape", &at("joined"), &[&mixed, &join]))
    }

    fn activation(&mut self, name: &str, input: &str) -> Value {
        let at = |part: &str| format!("{name}/{part}");
        match self.architecture.activation {
            Activation::Relu => self.graph.op("Relu", name, &[input]),
            Activation::Gelu => {
                let root = self.number("root_2", std::f32::consts::SQRT_2);
                let one = self.number("one", 1.0);
                let half = self.number("half", 0.5);
                let graph = &mut self.graph;
                let scaled = graph.op("Div", &at("scaled"), &[input, &root]);
                let error = graph.op("Erf", &at("erf"), &[&scaled]);
                let share = graph.op("Add", &at("share"), &[&error, &one]);
                let product = graph.op("Mul", &at("product"), &[input, &share]);
                graph.op("Mul", name, &[&product, &half])
            }
            Activation::GeluTanh => {
                let three = self.number("three", 3.0);
                let cubic = self.number("gelu_cubic", 0.044_715);
                let root = self.number("root_2_by_pi", (2.0 / std::f32::consts::PI).sqrt());
                let one = self.number("one", 1.0);
                let half = self.number("half", 0.5);
                let graph = &mut self.graph;
                let cube = graph.op("Pow", &at("cube"), &[input, &three]);
                let cube = graph.op("Mul", &at("cubic"), &[&cube, &cubic]);
                let sum = graph.op("Add", &at("sum"), &[input, &cube]);
                let inner = graph.op("Mul", &at("inner"), &[&sum, &root]);
                let tanh = graph.op("Tanh", &at("tanh"), &[&inner]);
                let share = graph.op("Add", &at("share"), &[&tanh, &one]);
                let product = graph.op("Mul", &at("product"), &[input, &share]);
                graph.op("Mul", name, &[&product, &half])
            }
        }
    }

    /// Layer normalisation over the last axis with the scale and shift filed under `name`.
    pub(super) fn normalise(&mut self, name: &str, output: &str, input: &str) -> Result<Value, ExportError> {
        let scale = self.vector(&format!("{name}.weight"), self.architecture.hidden)?;
        let shift = self.vector(&format!("{name}.bias"), self.architecture.hidden)?;
        Ok(self
            .graph
            .node("LayerNormalization", output, &[input, &scale, &shift])
            .int("axis", -1)
            .float("epsilon", self.architecture.epsilon)
            .done())
    }

    /// A weight vector as a constant.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Value, ExportError> {
        let tensor = self.weights.get(name, &[length])?;
        Ok(self.floats(name, &[length], &tensor.values))
    }

    /// Constants in the graph's floating-point type: 16 bits in [`Numbers::F16`], else 32.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Value {
        match self.numbers {
            Numbers::F16 => {
                let halves: Vec<half::f16> = values.iter().map(|value| half::f16::from_f32(*value)).collect();
                self.graph.constant(name, dims, &halves)
            }
            Numbers::F32 | Numbers::Int8 => self.graph.constant(name, dims, values),
        }
    }

    /// A single number in that type.
    fn number(&mut self, name: &str, value: f32) -> Value {
        self.floats(name, &[], &[value])
    }

    /// That type.
    fn element(&self) -> i32 {
        if self.numbers == Numbers::F16 { data_type::FLOAT16 } else { data_type::FLOAT }
    }

    /// Why a model cannot be written in 16 bits, where it cannot.
    pub(super) fn f16_obstacle(weights: &Weights) -> Option<&'static str> {
        weights
            .largest()
            .is_none_or(|value| value > half::f16::MAX.to_f32())
            .then_some("a weight is too large for 16 bits")
    }

    /// A table with rows of the hidden size as a constant.
    pub(super) fn table(&mut self, name: &str, rows: usize) -> Result<Value, ExportError> {
        let dims = [rows, self.architecture.hidden];
        let tensor = self.weights.get(name, &dims)?;
        Ok(self.floats(name, &dims, &tensor.values))
    }

    /// `input` times a weight plus its bias.
    pub(super) fn linear(
        &mut self,
        name: &str,
        input: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Value, ExportError> {
        let weight =
            transposed(&self.weights.get(&format!("{name}.weight"), &[outputs, inputs])?.values, outputs, inputs);
        let bias = self.vector(&format!("{name}.bias"), outputs)?;
        let product = match self.numbers {
            Numbers::F32 | Numbers::F16 => {
                let weight = self.floats(&format!("{name}.weight_t"), &[inputs, outputs], &weight);
                self.graph.op("MatMul", &format!("{name}/product"), &[input, &weight])
            }
            Numbers::Int8 => {
                let made = quantise::columns(&weight, inputs, outputs);
                let [integers, scale, zero] = self.quantised(input);
                let graph = &mut self.graph;
                let weight = graph.constant(&format!("{name}.weight_int8"), &[inputs, outputs], &made.integers);
                let weight_scale = graph.constant(&format!("{name}.weight_scale"), &[outputs], &made.scales);
                let sums = graph.op("MatMulInteger", &format!("{name}/sums"), &[&integers, &weight, &zero]);
                let sums = graph.cast(&format!("{name}/sums_float"), &sums, data_type::FLOAT);
                let scale = graph.op("Mul", &format!("{name}/scale"), &[&scale, &weight_scale]);
                graph.op("Mul", &format!("{name}/product"), &[&sums, &scale])
            }
        };
        Ok(self.graph.op("Add", &format!("{name}/output"), &[&product, &bias]))
    }

    /// Activations as unsigned 8-bit numbers with their scale and zero point, found from the values as they come.
    pub(super) fn quantised(&mut self, input: &str) -> [Value; 3] {
        if let Some(made) = self.quantised.get(input) {
            return made.clone();
        }
        let made = ["integers", "scale", "zero"].map(|part| format!("{input}/{part}"));
        self.graph.node("DynamicQuantizeLinear", &format!("{input}/quantise"), &[input]).outputs(&made);
        self.quantised.insert(input.to_owned(), made.clone());
        made
    }
}

/// A matrix of `rows` by `columns`, turned over.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
