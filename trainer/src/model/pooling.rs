//! From token vectors to one vector.

use super::input::{Input, Packed};
use crate::error::TrainError;
use tch::{Kind, Tensor};

pub use crate::pooling::Pooling;

impl Pooling {
    /// Pools what the encoder makes of a batch to `[sequences, hidden]` in f32 (f64 stays).
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn pool_batch(self, tokens: &Tensor, input: &Input) -> Result<Tensor, TrainError> {
        let packed = match input {
            Input::Padded(input) => return self.pool(tokens, input.mask.as_ref()),
            Input::Packed(input) => input,
        };
        let kind = if tokens.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        match self {
            Self::Cls => Ok(tokens.f_index_select(0, &packed.starts)?.f_to_kind(kind)?),
            Self::Mean if tokens.device().is_cuda() => mean_of_segments(&tokens.f_to_kind(kind)?, packed),
            Self::Mean => mean_of_runs(&tokens.f_to_kind(kind)?, packed),
        }
    }

    /// Pools `[batch, length, hidden]` to `[batch, hidden]` in f32 (f64 stays). `mask` is `[batch, length]` with 1 for tokens and
    /// 0 for padding; without one no token is padding. A row that is all padding gives zeros, not NaN.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn pool(self, tokens: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, TrainError> {
        let kind = if tokens.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        match self {
            Self::Cls => Ok(tokens.f_select(1, 0)?.f_to_kind(kind)?),
            Self::Mean => match mask {
                None => Ok(tokens.f_mean_dim(1, false, kind)?),
                Some(mask) => {
                    let mask = mask.f_to_kind(kind)?;
                    let sum =
                        tokens.f_to_kind(kind)?.f_mul(&mask.f_unsqueeze(-1)?)?.f_sum_dim_intlist(1, false, kind)?;
                    let count = mask.f_sum_dim_intlist(1, true, kind)?.f_clamp_min(1e-9)?;
                    Ok(sum.f_div(&count)?)
                }
            },
        }
    }
}

/// Means over sequences, one kernel for all: what is fast on a GPU, where small kernels are not.
fn mean_of_segments(tokens: &Tensor, packed: &Packed) -> Result<Tensor, TrainError> {
    let none: Option<&Tensor> = None;
    Ok(Tensor::f_segment_reduce(tokens, "mean", Some(&packed.counts), none, none, 0, true, 0.0)?)
}

/// Means over sequences, neighbours of equal length together: what is fast on a CPU, where the kernel above uses one thread.
fn mean_of_runs(tokens: &Tensor, packed: &Packed) -> Result<Tensor, TrainError> {
    let runs = packed.runs();
    let sizes: Vec<i64> = runs.iter().map(|(count, length)| count * length).collect();
    let means = tokens
        .f_split_with_sizes(&sizes, 0)?
        .iter()
        .zip(&runs)
        .map(|(part, &(count, length))| Ok(part.f_view([count, length, -1])?.f_mean_dim(1, false, part.kind())?))
        .collect::<Result<Vec<_>, TrainError>>()?;
    Ok(Tensor::f_cat(&means, 0)?)
}

/// Scales rows to length 1; a row of zeros stays.
pub(crate) fn normalise(rows: &Tensor) -> Result<Tensor, TrainError> {
    let length = rows.f_square()?.f_sum_dim_intlist(-1, true, rows.kind())?.f_sqrt()?.f_clamp_min(1e-12)?;
    Ok(rows.f_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::super::input::{Layout, Sequence};
    use super::*;
    use tch::Device;

    #[test]
    fn both_means_agree_and_so_do_their_gradients() {
        let texts: Vec<Sequence<'_>> =
            [5usize, 5, 3, 1].iter().map(|&n| Sequence { ids: vec![7; n].into(), second: n }).collect();
        let texts: Vec<&Sequence<'_>> = texts.iter().collect();
        let layout = Layout { pad: 0, packed: true, device: Device::Cpu };
        let Input::Packed(packed) = layout.input(&texts).unwrap() else { panic!("packed") };
        let start = Tensor::arange(14 * 3, (Kind::Float, Device::Cpu)).sin().view([14, 3]);
        let weight = Tensor::arange(4 * 3, (Kind::Float, Device::Cpu)).cos().view([4, 3]);
        let mut found = Vec::new();
        for mean in [mean_of_segments, mean_of_runs] {
            let tokens = start.copy().set_requires_grad(true);
            let rows = mean(&tokens, &packed).unwrap();
            assert_eq!(rows.size(), [4, 3]);
            (&rows * &weight).sum(Kind::Float).backward();
            found.push((rows.detach(), tokens.grad()));
        }
        assert!((&found[0].0 - &found[1].0).abs().max().double_value(&[]) < 1e-6);
        assert!((&found[0].1 - &found[1].1).abs().max().double_value(&[]) < 1e-6);
        assert!((found[1].0.get(3) - start.get(13)).abs().max().double_value(&[]) < 1e-6, "a text of one token");
    }
}
