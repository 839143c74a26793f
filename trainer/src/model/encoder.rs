//! The encoder itself: BERT and its relatives (RoBERTa, XLM-R, DistilBERT, MPNet), with tensors under Hugging Face names.
//!
//! Attention goes through libtorch's fused kernels, query, key and value through one matrix product. In bf16 the weights are
//! cast once a pass and gradients arrive at the f32 masters. Padded batches are `[batch, length, hidden]` all the way, packed
//! ones `[tokens, hidden]`; they differ in the embeddings' positions, in attention (see `attention.rs`) and in pooling.

use super::attention;
use super::input::{Input, Layout, Padded};
use super::parameters::Parameters;
use super::size::ModelSize;
use crate::error::TrainError;
use crate::export::architecture::{Activation, Architecture, Family};
use crate::torch::Machine;
use std::path::Path;
use tch::{Kind, Tensor};

/// How a pass runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// Kind of the activations.
    pub compute: Kind,
    /// Probability that an activation is dropped; 0 outside training.
    pub dropout: f64,
}

/// An encoder.
#[derive(Debug)]
pub struct Encoder {
    architecture: Architecture,
    machine: Machine,
    /// Its tensors and those of whatever head sits on it.
    pub parameters: Parameters,
}

impl Encoder {
    /// Reads a model folder.
    ///
    /// # Errors
    /// When a file is missing or broken, or the model is of a kind that is not supported; the message names file and key.
    pub fn open(folder: &Path, machine: Machine) -> Result<Self, TrainError> {
        let architecture = Architecture::read(folder)?;
        let parameters = Parameters::read(folder, &shapes(&architecture), machine.device)?;
        Ok(Self { architecture, machine, parameters })
    }

    /// Values of a token's vector.
    pub fn hidden(&self) -> usize {
        self.architecture.hidden
    }

    /// Layers.
    pub fn layers(&self) -> usize {
        self.architecture.layers
    }

    /// The longest sequence it takes, in tokens.
    pub fn longest(&self) -> usize {
        self.architecture.longest()
    }

    /// Entries of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.architecture.vocabulary
    }

    /// The padding token.
    pub fn pad(&self) -> i64 {
        self.architecture.pad_id
    }

    /// Where it runs.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// How its sequences become tensors.
    pub fn layout(&self) -> Layout {
        let a = &self.architecture;
        // A bias by distance has no place in the kernels for packed sequences; flash attention wants widths in eights.
        let possible = a.family != Family::MpNet
            && (!self.machine.device.is_cuda() || (a.hidden / a.heads).is_multiple_of(8) && a.hidden / a.heads <= 256);
        Layout { pad: a.pad_id, packed: self.machine.packed && possible, device: self.machine.device }
    }

    /// Its size, for estimates of memory.
    pub fn size(&self) -> ModelSize {
        let a = &self.architecture;
        let parameters = self.parameters.tensors().iter().map(|t| t.numel() as u64).sum();
        ModelSize { parameters, hidden: a.hidden as u64, layers: a.layers as u64 }
    }

    /// A plain pass: the machine's precision and no dropout.
    pub fn inference(&self) -> Mode {
        Mode { compute: self.machine.compute, dropout: 0.0 }
    }

    /// Floating-point operations of a forward pass over one token in a sequence of `length`.
    pub fn flops_per_token(&self, length: usize) -> f64 {
        let a = &self.architecture;
        let (hidden, inner, layers) = (a.hidden as f64, a.intermediate as f64, a.layers as f64);
        layers * (8.0 * hidden * hidden + 4.0 * hidden * inner + 4.0 * hidden * length as f64)
    }

    /// Takes the word, position and type tables and the first `layers` layers out of training.
    ///
    /// # Errors
    /// When the model has fewer layers.
    pub fn freeze(&mut self, embeddings: bool, layers: usize) -> Result<(), TrainError> {
        if layers > self.architecture.layers {
            return Err(TrainError::config(format!(
                "`freeze_layers` is {layers}, and the model has {} layers",
                self.architecture.layers
            )));
        }
        let stem = if self.architecture.family == Family::DistilBert { "transformer.layer" } else { "encoder.layer" };
        let mut prefixes: Vec<String> = (0..layers).map(|layer| format!("{stem}.{layer}.")).collect();
        if embeddings || layers > 0 {
            // A layer that is frozen while what feeds it moves would save nothing.
            prefixes.push("embeddings.".to_owned());
        }
        self.parameters.freeze(&prefixes)
    }

    /// The last layer's token vectors in the mode's kind: `[batch, length, hidden]`, or `[tokens, hidden]` for packed input.
    ///
    /// # Errors
    /// When a sequence is longer than the model takes, or libtorch fails.
    pub fn forward(&self, input: &Input, mode: Mode) -> Result<Tensor, TrainError> {
        let a = &self.architecture;
        if input.longest() > a.longest() as i64 {
            return Err(TrainError::internal(format!(
                "a text has {} tokens, and the model takes {} at most",
                input.longest(),
                a.longest()
            )));
        }
        let get =
            |name: &str| -> Result<Tensor, TrainError> { Ok(self.parameters.get(name)?.f_to_kind(mode.compute)?) };
        let drop = |x: Tensor| -> Result<Tensor, TrainError> {
            if mode.dropout > 0.0 { Ok(x.f_dropout(mode.dropout, true)?) } else { Ok(x) }
        };
        let norm = |x: &Tensor, name: &str| -> Result<Tensor, TrainError> {
            let (weight, bias) = (get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?);
            Ok(x.f_layer_norm([a.hidden as i64], Some(&weight), Some(&bias), f64::from(a.epsilon), true)?)
        };
        let linear = |x: &Tensor, name: &str| -> Result<Tensor, TrainError> {
            let (weight, bias) = (get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?);
            Ok(x.f_linear(&weight, Some(&bias))?)
        };

        let mut x = self.embed(input, mode.compute)?;
        x = drop(norm(&x, "embeddings.LayerNorm")?)?;
        let bias = match input {
            Input::Padded(input) => self.attention_bias(input, mode.compute)?,
            Input::Packed(_) => None,
        };
        for layer in 0..a.layers {
            let names = a.layer(layer);
            let parts = [&names.query, &names.key, &names.value];
            let side_by_side = |kind: &str| -> Result<Tensor, TrainError> {
                let all =
                    parts.iter().map(|n| self.parameters.get(&format!("{n}.{kind}"))).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::f_cat(&all, 0)?.f_to_kind(mode.compute)?)
            };
            let joint = x.f_linear(&side_by_side("weight")?, Some(&side_by_side("bias")?))?;
            let mixed = match input {
                Input::Padded(input) => attention::padded(&joint, input, bias.as_ref(), a.heads as i64)?,
                Input::Packed(input) => attention::packed(&joint, input, a.heads as i64)?,
            };
            let mixed = drop(linear(&mixed, &names.attention_output)?)?;
            x = norm(&(x.f_add(&mixed)?), &names.attention_norm)?;
            let inner = linear(&x, &names.up)?;
            let inner = match a.activation {
                Activation::Gelu => inner.f_gelu("none")?,
                Activation::GeluTanh => inner.f_gelu("tanh")?,
                Activation::Relu => inner.f_relu()?,
            };
            let inner = drop(linear(&inner, &names.down)?)?;
            x = norm(&(x.f_add(&inner)?), &names.output_norm)?;
        }
        Ok(x)
    }

    fn embed(&self, input: &Input, compute: Kind) -> Result<Tensor, TrainError> {
        let a = &self.architecture;
        let table = |name: &str| self.parameters.get(&format!("embeddings.{name}_embeddings.weight"));
        let rows = |table: &Tensor, ids: &Tensor| Tensor::f_embedding(table, ids, -1, false, false);
        let (ids, types) = match input {
            Input::Padded(input) => (&input.ids, &input.types),
            Input::Packed(input) => (&input.ids, &input.types),
        };
        // Only the rows in use: what is left of the table's gradient is zero.
        let used = table("position")?.f_narrow(0, a.position_offset() as i64, input.longest())?;
        let positions = match input {
            Input::Padded(_) => used.f_unsqueeze(0)?,
            Input::Packed(input) => rows(&used, &input.positions)?,
        };
        let mut sum = rows(table("word")?, ids)?.f_add(&positions)?;
        if a.types > 0 {
            let types_table = table("token_type")?;
            let of_types = match types {
                Some(types) if a.types > 1 => rows(types_table, types)?,
                // Models with one type give it to every token; most inputs have one text.
                _ => types_table.f_narrow(0, 0, 1)?,
            };
            sum = sum.f_add(&of_types)?;
        }
        Ok(sum.f_to_kind(compute)?)
    }

    /// What is added to attention's logits: minus infinity at padding, and MPNet's bias by distance.
    fn attention_bias(&self, input: &Padded, compute: Kind) -> Result<Option<Tensor>, TrainError> {
        let a = &self.architecture;
        let padding = match &input.mask {
            None => None,
            Some(mask) => {
                let zeros = Tensor::f_zeros([input.batch, 1, 1, input.length], (compute, self.machine.device))?;
                let absent = mask.f_logical_not()?.f_view([input.batch, 1, 1, input.length])?;
                // The lowest finite number: a row that is all padding then gives a plain mean and no NaN.
                let lowest = if compute == Kind::BFloat16 { -3.38e38 } else { -3.4e38 };
                Some(zeros.f_masked_fill(&absent, lowest)?)
            }
        };
        if a.family != Family::MpNet {
            return match padding {
                None => Ok(None),
                Some(padding) => Ok(Some(padding.f_expand([input.batch, 1, input.length, input.length], false)?)),
            };
        }
        let table = self.parameters.get("encoder.relative_attention_bias.weight")?.f_to_kind(compute)?;
        let buckets: Vec<i64> = (0..input.length)
            .flat_map(|query| (0..input.length).map(move |key| key - query))
            .map(|distance| crate::export::architecture::bucket(distance, a.buckets) as i64)
            .collect();
        let buckets =
            Tensor::f_from_slice(&buckets)?.f_view([input.length, input.length])?.f_to_device(self.machine.device)?;
        let bias = Tensor::f_embedding(&table, &buckets, -1, false, false)?.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
        let bias = bias.f_expand([input.batch, a.heads as i64, input.length, input.length], false)?;
        Ok(Some(match padding {
            None => bias,
            Some(padding) => bias.f_add(&padding)?,
        }))
    }
}

/// Names and shapes of the tensors that a pass computes with.
fn shapes(a: &Architecture) -> Vec<(String, Vec<i64>)> {
    let (hidden, inner) = (a.hidden as i64, a.intermediate as i64);
    let mut uses = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![a.vocabulary as i64, hidden]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![a.positions as i64, hidden]),
    ];
    if a.types > 0 {
        uses.push(("embeddings.token_type_embeddings.weight".to_owned(), vec![a.types as i64, hidden]));
    }
    let norm = |uses: &mut Vec<(String, Vec<i64>)>, name: &str| {
        uses.push((format!("{name}.weight"), vec![hidden]));
        uses.push((format!("{name}.bias"), vec![hidden]));
    };
    norm(&mut uses, "embeddings.LayerNorm");
    for layer in 0..a.layers {
        let names = a.layer(layer);
        for (name, rows, columns) in [
            (&names.query, hidden, hidden),
            (&names.key, hidden, hidden),
            (&names.value, hidden, hidden),
            (&names.attention_output, hidden, hidden),
            (&names.up, inner, hidden),
            (&names.down, hidden, inner),
        ] {
            uses.push((format!("{name}.weight"), vec![rows, columns]));
            uses.push((format!("{name}.bias"), vec![rows]));
        }
        norm(&mut uses, &names.attention_norm);
        norm(&mut uses, &names.output_norm);
    }
    if a.family == Family::MpNet {
        uses.push(("encoder.relative_attention_bias.weight".to_owned(), vec![a.buckets as i64, a.heads as i64]));
    }
    uses
}
