//! Attention over a batch: every head of every sequence, sequences kept apart.
//!
//! All of it takes `joint`, the projections of query, key and value side by side, `[.., 3 * hidden]`, and gives `[.., hidden]`.

use super::input::{Packed, Padded};
use crate::error::TrainError;
use crate::torch::varlen_attention;
use tch::{Kind, Tensor};

/// Up to so many tokens, attention in bf16 on the CPU is three plain steps: libtorch's fused one sets up a matrix product for each
/// head and some 64 tokens, which takes a fifth of a training step (MiniLM-L6, AMX). Beyond it the weights would take much memory.
const SHORT: i64 = 256;

/// Sequences side by side; `bias` is added to the logits.
pub(super) fn padded(joint: &Tensor, input: &Padded, bias: Option<&Tensor>, heads: i64) -> Result<Tensor, TrainError> {
    side_by_side(joint, input.batch, input.length, bias, heads)
}

/// Sequences one after the other. On CUDA one kernel takes them all; on the CPU neighbours of equal length go together.
pub(super) fn packed(joint: &Tensor, input: &Packed, heads: i64) -> Result<Tensor, TrainError> {
    if joint.device().is_cuda() {
        let parts = joint.f_view([input.tokens, 3, heads, -1])?.f_unbind(1)?;
        let [query, key, value] = parts.as_slice() else {
            return Err(TrainError::internal("libtorch did not part query, key and value"));
        };
        let mixed = varlen_attention(query, key, value, &input.offsets, input.longest)?;
        return Ok(mixed.f_reshape([input.tokens, -1])?);
    }
    let runs = input.runs();
    let sizes: Vec<i64> = runs.iter().map(|(count, length)| count * length).collect();
    let parts = joint
        .f_split_with_sizes(&sizes, 0)?
        .iter()
        .zip(&runs)
        .map(|(part, &(count, length))| Ok(side_by_side(part, count, length, None, heads)?.f_flatten(0, 1)?))
        .collect::<Result<Vec<_>, TrainError>>()?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

fn side_by_side(
    joint: &Tensor,
    batch: i64,
    length: i64,
    bias: Option<&Tensor>,
    heads: i64,
) -> Result<Tensor, TrainError> {
    // Unbound rather than selected one by one: the gradients then come together in one step.
    let parts = joint.f_view([batch, length, 3, heads, -1])?.f_transpose(1, 3)?.f_unbind(2)?;
    let [query, key, value] = parts.as_slice() else {
        return Err(TrainError::internal("libtorch did not part query, key and value"));
    };
    if bias.is_none() && !joint.device().is_cuda() && joint.kind() == Kind::BFloat16 && length <= SHORT {
        let scale = 1.0 / (query.size()[3] as f64).sqrt();
        let logits = query.f_mul_scalar(scale)?.f_matmul(&key.f_transpose(2, 3)?)?;
        let mixed = logits.f_softmax(-1, None::<Kind>)?.f_matmul(value)?;
        return Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, length, -1])?);
    }
    let mixed = Tensor::f_scaled_dot_product_attention(query, key, value, bias, 0.0, false, None, false)?;
    Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, length, -1])?)
}
