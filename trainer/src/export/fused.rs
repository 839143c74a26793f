//! The same encoder in ONNX Runtime's fused operators: one node for the embeddings, seven for each layer.
//!
//! ONNX Runtime's own optimiser does not build its fused attention from a standard graph, so the file is written that
//! way, for CUDA: on a CPU the standard file is as fast or faster (`benches/records/`, the encoder's speed). In int8 the attention's three projections are one quantised product inside the attention node.

use super::architecture::{Activation, Family};
use super::error::ExportError;
use super::graph::{MASKED, Numbers, Writer, transposed};
use super::onnx::Value;
use super::onnx::messages::data_type;
use super::quantise;

impl Writer<'_> {
    /// Whether the fused operators can express this model in these numbers; the reason where they cannot.
    pub(super) fn fused_obstacle(
        architecture: &super::architecture::Architecture,
        numbers: Numbers,
    ) -> Option<&'static str> {
        if numbers == Numbers::F16 {
            return Some(
                "the fused operators of the CPU take no 16-bit numbers, so that the file could not be checked",
            );
        }
        if architecture.activation == Activation::Relu {
            return Some("there is no fused operator for its activation, ReLU");
        }
        if architecture.family == Family::MpNet && matches!(numbers, Numbers::Int8) {
            return Some("the quantised attention operator takes no relative bias");
        }
        None
    }

    pub(super) fn fused_encoder(&mut self) -> Result<Value, ExportError> {
        let mask = self.graph.cast("mask/int32", "attention_mask", data_type::INT32);
        let mut hidden = match self.numbers {
            Numbers::F32 | Numbers::F16 => self.fused_embeddings()?,
            // The fused embedding operator has one scale for the whole table; a scale for each row is worth four nodes.
            Numbers::Int8 => self.embeddings()?,
        };
        let relative = match self.architecture.family {
            Family::MpNet => Some(self.relative_bias()?),
            _ => None,
        };
        for layer in 0..self.architecture.layers {
            hidden = self.fused_layer(layer, &hidden, &mask, relative.as_deref())?;
        }
        Ok(hidden)
    }

    fn fused_embeddings(&mut self) -> Result<Value, ExportError> {
        let (vocabulary, types) = (self.architecture.vocabulary, self.architecture.types);
        let hidden = self.architecture.hidden;
        let ids = self.graph.cast("embeddings/ids_int32", "input_ids", data_type::INT32);
        let words = self.table("embeddings.word_embeddings.weight", vocabulary)?;
        let positions = self.position_table()?;
        let (type_ids, type_table) = if self.architecture.takes_types() {
            let ids = self.graph.cast("embeddings/types_int32", "token_type_ids", data_type::INT32);
            (ids, self.table("embeddings.token_type_embeddings.weight", types)?)
        } else {
            (String::new(), String::new())
        };
        let scale = self.vector("embeddings.LayerNorm.weight", hidden)?;
        let shift = self.vector("embeddings.LayerNorm.bias", hidden)?;
        let position_ids = if self.architecture.position_offset() > 0 {
            let ids = self.position_ids();
            self.graph.cast("embeddings/position_ids_int32", &ids, data_type::INT32)
        } else {
            String::new()
        };
        let mut inputs = vec![&ids, &type_ids, &words, &positions, &type_table, &scale, &shift];
        let no_mask = String::new();
        if !position_ids.is_empty() {
            inputs.extend([&no_mask, &position_ids]);
        }
        let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
        let outputs = ["embeddings".to_owned(), "embeddings/mask_index".to_owned()];
        let epsilon = self.architecture.epsilon;
        self.graph
            .microsoft("EmbedLayerNormalization", "embeddings", &inputs)
            .float("epsilon", epsilon)
            .outputs(&outputs);
        let [output, _] = outputs;
        Ok(output)
    }

    fn fused_layer(
        &mut self,
        layer: usize,
        input: &str,
        mask: &str,
        relative: Option<&str>,
    ) -> Result<Value, ExportError> {
        let names = self.architecture.layer(layer);
        let (hidden, intermediate) = (self.architecture.hidden, self.architecture.intermediate);
        let at = |part: &str| format!("layer.{layer}/{part}");
        let parts = [&names.query, &names.key, &names.value];
        let attended = self.fused_attention(layer, parts, input, mask, relative)?;
        let output = self.product(&names.attention_output, &attended, hidden, hidden)?;
        let middle =
            self.skip_norm(&at("attention"), &output, input, &names.attention_output, &names.attention_norm)?;
        let up = self.product(&names.up, &middle, hidden, intermediate)?;
        let bias = self.vector(&format!("{}.bias", names.up), intermediate)?;
        let gelu = match self.architecture.activation {
            Activation::GeluTanh => "FastGelu",
            Activation::Gelu | Activation::Relu => "BiasGelu",
        };
        let active = self.graph.microsoft(gelu, &at("activation"), &[&up, &bias]).done();
        let down = self.product(&names.down, &active, intermediate, hidden)?;
        let name = self.layer_output(layer);
        self.skip_norm(&name, &down, &middle, &names.down, &names.output_norm)
    }

    fn fused_attention(
        &mut self,
        layer: usize,
        parts: [&String; 3],
        input: &str,
        mask: &str,
        relative: Option<&str>,
    ) -> Result<Value, ExportError> {
        let (hidden, heads) = (self.architecture.hidden, self.architecture.heads as i64);
        let name = format!("layer.{layer}/attention/joined");
        let stem = format!("layer.{layer}.attention.projections");
        // Query, key and value side by side: [hidden, 3 * hidden].
        let mut weight = vec![0.0f32; 3 * hidden * hidden];
        let mut bias = Vec::with_capacity(3 * hidden);
        for (part, part_name) in parts.into_iter().enumerate() {
            let tensor = self.weights.get(&format!("{part_name}.weight"), &[hidden, hidden])?;
            let turned = transposed(&tensor.values, hidden, hidden);
            for (row, line) in turned.chunks_exact(hidden).enumerate() {
                let start = row * 3 * hidden + part * hidden;
                weight[start..start + hidden].copy_from_slice(line);
            }
            bias.extend_from_slice(&self.weights.get(&format!("{part_name}.bias"), &[hidden])?.values);
        }
        let bias = self.floats(&format!("{stem}.bias"), &[3 * hidden], &bias);
        match self.numbers {
            Numbers::F32 | Numbers::F16 => {
                let dims = [hidden, 3 * hidden];
                let weight = self.floats(&format!("{stem}.weight_t"), &dims, &weight);
                let mut inputs = vec![input, &weight, &bias, mask];
                if let Some(relative) = relative {
                    inputs.extend(["", relative]);
                }
                Ok(self
                    .graph
                    .microsoft("Attention", &name, &inputs)
                    .int("num_heads", heads)
                    .float("mask_filter_value", MASKED)
                    .done())
            }
            Numbers::Int8 => {
                let made = quantise::columns(&weight, hidden, 3 * hidden);
                let [integers, scale, zero] = self.quantised(input);
                let graph = &mut self.graph;
                let weight = graph.constant(&format!("{stem}.weight_int8"), &[hidden, 3 * hidden], &made.integers);
                let weight_scale = graph.constant(&format!("{stem}.weight_scale"), &[3 * hidden], &made.scales);
                let inputs = [&integers, &weight, &bias, &scale, &weight_scale, mask, &zero].map(|name| name as &str);
                Ok(graph
                    .microsoft("QAttention", &name, &inputs)
                    .int("num_heads", heads)
                    .float("mask_filter_value", MASKED)
                    .done())
            }
        }
    }

    /// `input` times a weight; the bias is added by the fused operator that follows.
    fn product(&mut self, name: &str, input: &str, inputs: usize, outputs: usize) -> Result<Value, ExportError> {
        let tensor = self.weights.get(&format!("{name}.weight"), &[outputs, inputs])?;
        let weight = transposed(&tensor.values, outputs, inputs);
        let product = format!("{name}/product");
        match self.numbers {
            Numbers::F32 | Numbers::F16 => {
                let weight = self.floats(&format!("{name}.weight_t"), &[inputs, outputs], &weight);
                Ok(self.graph.op("MatMul", &product, &[input, &weight]))
            }
            Numbers::Int8 => {
                let made = quantise::columns(&weight, inputs, outputs);
                let graph = &mut self.graph;
                let weight = graph.constant(&format!("{name}.weight_int8"), &[inputs, outputs], &made.integers);
                let scale = graph.constant(&format!("{name}.weight_scale"), &[outputs], &made.scales);
                Ok(graph.microsoft("DynamicQuantizeMatMul", &product, &[input, &weight, &scale]).done())
            }
        }
    }

    /// Layer normalisation of `input` + `skip` + the bias of the linear layer that made `input`.
    fn skip_norm(
        &mut self,
        output: &str,
        input: &str,
        skip: &str,
        linear: &str,
        norm: &str,
    ) -> Result<Value, ExportError> {
        let hidden = self.architecture.hidden;
        let scale = self.vector(&format!("{norm}.weight"), hidden)?;
        let shift = self.vector(&format!("{norm}.bias"), hidden)?;
        let bias = self.vector(&format!("{linear}.bias"), hidden)?;
        let epsilon = self.architecture.epsilon;
        Ok(self
            .graph
            .microsoft("SkipLayerNormalization", output, &[input, skip, &scale, &shift, &bias])
            .float("epsilon", epsilon)
            .done())
    }
}
