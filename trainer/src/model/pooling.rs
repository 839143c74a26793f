//! From token vectors to one vector.

use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean over the text's tokens.
    #[default]
    Mean,
    /// The first token's vector.
    Cls,
}

impl Pooling {
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

/// Scales rows to length 1; a row of zeros stays.
pub(crate) fn normalise(rows: &Tensor) -> Result<Tensor, TrainError> {
    let length = rows.f_square()?.f_sum_dim_intlist(-1, true, rows.kind())?.f_sqrt()?.f_clamp_min(1e-12)?;
    Ok(rows.f_div(&length)?)
}
