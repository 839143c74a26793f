//! Pooling: from one vector for each token to one for the text.

use serde_json::Value;

use super::json::{JsonFile, kind_of};
use crate::error::EncoderError;

/// One way to pool. Several may be asked for; their results are then put side by side in the order asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolingMode {
    Cls,
    Max,
    Mean,
    MeanSqrtLength,
    WeightedMean,
    LastToken,
}

/// The booleans of the older dialect, in the order in which their results are joined, with the newer name of each.
const MODES: [(&str, &str, PoolingMode); 6] = [
    ("pooling_mode_cls_token", "cls", PoolingMode::Cls),
    ("pooling_mode_max_tokens", "max", PoolingMode::Max),
    ("pooling_mode_mean_tokens", "mean", PoolingMode::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", PoolingMode::MeanSqrtLength),
    ("pooling_mode_weightedmean_tokens", "weightedmean", PoolingMode::WeightedMean),
    ("pooling_mode_lasttoken", "lasttoken", PoolingMode::LastToken),
];

/// Widest vector accepted anywhere.
pub(crate) const WIDTH_LIMIT: u64 = 1 << 17;

/// What `1_Pooling/config.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    modes: Vec<PoolingMode>,
    /// Values in a token vector, where the folder says.
    dimension: Option<usize>,
    /// Whether the prompt's own tokens take part.
    pub(crate) include_prompt: bool,
}

impl Default for Pooling {
    fn default() -> Self {
        Self { modes: vec![PoolingMode::Mean], dimension: None, include_prompt: true }
    }
}

impl Pooling {
    /// Reads both dialects: the booleans, and `pooling_mode` with one name or a list.
    pub(crate) fn read(config: &JsonFile) -> Result<Self, EncoderError> {
        let named = |name: &str, key: String| {
            MODES.iter().find(|(_, known, _)| *known == name).map(|(_, _, mode)| *mode).ok_or_else(|| {
                EncoderError::key(
                    config.path(),
                    key,
                    format!(
                        "is \"{name}\"; supported are cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken"
                    ),
                )
            })
        };
        let mut modes = Vec::new();
        match config.get("pooling_mode") {
            Some(Value::String(name)) => modes.push(named(name, "pooling_mode".to_owned())?),
            Some(Value::Array(names)) if !names.is_empty() && names.len() <= MODES.len() => {
                for (index, name) in names.iter().enumerate() {
                    let key = format!("pooling_mode[{index}]");
                    match name {
                        Value::String(name) => modes.push(named(name, key)?),
                        other => {
                            return Err(EncoderError::key(
                                config.path(),
                                key,
                                format!("must be a string, and is {}", kind_of(other)),
                            ));
                        }
                    }
                }
            }
            Some(other) => {
                return Err(EncoderError::key(
                    config.path(),
                    "pooling_mode",
                    format!("must be a name or a list of one to six names, and is {}", kind_of(other)),
                ));
            }
            None => {
                for (key, _, mode) in MODES {
                    if config.flag(key)?.unwrap_or(false) {
                        modes.push(mode);
                    }
                }
                if modes.is_empty() {
                    modes.push(PoolingMode::Mean);
                }
            }
        }
        let dimension = match config.size("word_embedding_dimension", WIDTH_LIMIT)? {
            Some(dimension) => Some(dimension),
            None => config.size("embedding_dimension", WIDTH_LIMIT)?,
        };
        Ok(Self { modes, dimension, include_prompt: config.flag("include_prompt")?.unwrap_or(true) })
    }

    /// Values in the pooled vector, where the folder says.
    pub(crate) fn output_dimension(&self) -> Option<usize> {
        self.dimension.map(|dimension| dimension * self.modes.len())
    }

    /// Values in a pooled vector made from token vectors of `hidden` values.
    pub(crate) fn width_for(&self, hidden: usize) -> usize {
        hidden * self.modes.len()
    }

    /// A line for the fingerprint.
    pub(crate) fn describe(&self) -> String {
        format!("{:?} include_prompt={}", self.modes, self.include_prompt)
    }

    /// Pools one text.
    ///
    /// `tokens` holds `hidden` values for each token of the text, without padding; the first `skip` tokens belong to
    /// the prompt and are left out where the folder says so. `out` gets [`width_for`](Self::width_for) values. A text
    /// without tokens gets zeros.
    pub(crate) fn pool(&self, tokens: &[f32], hidden: usize, skip: usize, out: &mut [f32]) {
        debug_assert_eq!(out.len(), self.width_for(hidden));
        let count = tokens.len() / hidden.max(1);
        let first = if self.include_prompt { 0 } else { skip.min(count) };
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(hidden)) {
            out.fill(0.0);
            if count == 0 {
                continue;
            }
            let used = tokens[first * hidden..].chunks_exact(hidden);
            let number = (count - first) as f32;
            match mode {
                // Where the prompt was the whole text, the first and last token of all stand in, as they do in
                // sentence-transformers.
                PoolingMode::Cls => {
                    let index = if first < count { first } else { 0 };
                    out.copy_from_slice(&tokens[index * hidden..(index + 1) * hidden]);
                }
                PoolingMode::LastToken => {
                    if first < count {
                        out.copy_from_slice(&tokens[(count - 1) * hidden..]);
                    }
                }
                PoolingMode::Max => {
                    if first < count {
                        out.fill(f32::NEG_INFINITY);
                        for token in used {
                            for (best, value) in out.iter_mut().zip(token) {
                                *best = best.max(*value);
                            }
                        }
                    }
                }
                PoolingMode::Mean | PoolingMode::MeanSqrtLength => {
                    for token in used {
                        for (sum, value) in out.iter_mut().zip(token) {
                            *sum += value;
                        }
                    }
                    let divisor = if *mode == PoolingMode::Mean { number } else { number.sqrt() };
                    if divisor > 0.0 {
                        out.iter_mut().for_each(|sum| *sum /= divisor);
                    }
                }
                PoolingMode::WeightedMean => {
                    let mut total = 0.0f32;
                    for (index, token) in used.enumerate() {
                        let weight = (first + index + 1) as f32;
                        total += weight;
                        for (sum, value) in out.iter_mut().zip(token) {
                            *sum += weight * value;
                        }
                    }
                    if total > 0.0 {
                        out.iter_mut().for_each(|sum| *sum /= total);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooling(modes: &[PoolingMode], include_prompt: bool) -> Pooling {
        Pooling { modes: modes.to_vec(), dimension: Some(2), include_prompt }
    }

    /// Three tokens of two values.
    const TOKENS: [f32; 6] = [1.0, -4.0, 3.0, 2.0, 8.0, -1.0];

    fn pooled(mode: PoolingMode, include_prompt: bool, skip: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; 2];
        pooling(&[mode], include_prompt).pool(&TOKENS, 2, skip, &mut out);
        out
    }

    #[test]
    fn each_mode_by_hand() {
        assert_eq!(pooled(PoolingMode::Cls, true, 0), [1.0, -4.0]);
        assert_eq!(pooled(PoolingMode::Max, true, 0), [8.0, 2.0]);
        assert_eq!(pooled(PoolingMode::Mean, true, 0), [4.0, -1.0]);
        let root = 3f32.sqrt();
        assert_eq!(pooled(PoolingMode::MeanSqrtLength, true, 0), [12.0 / root, -3.0 / root]);
        assert_eq!(pooled(PoolingMode::WeightedMean, true, 0), [31.0 / 6.0, -3.0 / 6.0]);
        assert_eq!(pooled(PoolingMode::LastToken, true, 0), [8.0, -1.0]);
    }

    #[test]
    fn prompt_tokens_left_out() {
        assert_eq!(pooled(PoolingMode::Mean, true, 1), [4.0, -1.0]);
        assert_eq!(pooled(PoolingMode::Mean, false, 1), [5.5, 0.5]);
        assert_eq!(pooled(PoolingMode::Cls, false, 1), [3.0, 2.0]);
        // Weights keep counting from the start of the sequence.
        assert_eq!(pooled(PoolingMode::WeightedMean, false, 1), [30.0 / 5.0, 1.0 / 5.0]);
    }

    #[test]
    fn nothing_to_pool_is_zero_and_never_nan() {
        for (_, _, mode) in MODES {
            let mut out = vec![f32::NAN; 2];
            pooling(&[mode], true).pool(&[], 2, 0, &mut out);
            assert_eq!(out, [0.0, 0.0], "{mode:?}");
            pooling(&[mode], false).pool(&TOKENS, 2, 9, &mut out);
            assert!(out.iter().all(|value| value.is_finite()), "{mode:?}");
        }
    }

    #[test]
    fn several_modes_stand_side_by_side() {
        let mut out = vec![0.0; 4];
        pooling(&[PoolingMode::Cls, PoolingMode::Max], true).pool(&TOKENS, 2, 0, &mut out);
        assert_eq!(out, [1.0, -4.0, 8.0, 2.0]);
    }
}
