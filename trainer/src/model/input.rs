//! Token sequences as the tensors a model takes.

use crate::error::TrainError;
use std::borrow::Cow;
use tch::{Device, Kind, Tensor};

/// One model input, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Token ids.
    pub ids: Cow<'a, [u32]>,
    /// Where the second text begins: tokens from here on are of type 1. The length where there is one text.
    pub second: usize,
}

impl Sequence<'_> {
    /// Tokens, special ones included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Sequences of one batch, padded to the longest.
#[derive(Debug)]
pub struct Padded {
    /// `[batch, length]`, int64.
    pub ids: Tensor,
    /// `[batch, length]`, int64: 0 first text, 1 second.
    pub types: Tensor,
    /// `[batch, length]`, bool, true for tokens; none when nothing is padding.
    pub mask: Option<Tensor>,
    /// Sequences.
    pub batch: i64,
    /// Tokens of the longest.
    pub length: i64,
}

impl Padded {
    /// Pads on the right with `pad`.
    ///
    /// # Errors
    /// When there is no sequence, one is empty, or libtorch fails.
    pub fn new(sequences: &[&Sequence<'_>], pad: i64, device: Device) -> Result<Self, TrainError> {
        let length = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        if sequences.iter().any(|s| s.is_empty()) || length == 0 {
            return Err(TrainError::config("a model was given a text without tokens"));
        }
        let (rows, cells) = (sequences.len(), sequences.len() * length);
        let mut ids = vec![pad; cells];
        let mut types = vec![0i64; cells];
        let mut real = vec![false; cells];
        for (row, sequence) in sequences.iter().enumerate() {
            let start = row * length;
            for (place, &id) in sequence.ids.iter().enumerate() {
                ids[start + place] = i64::from(id);
                types[start + place] = i64::from(place >= sequence.second);
                real[start + place] = true;
            }
        }
        let size = [rows as i64, length as i64];
        let shape = |tensor: Tensor| -> Result<Tensor, TrainError> { Ok(tensor.f_view(size)?.f_to_device(device)?) };
        let mask = if real.iter().all(|&r| r) {
            None
        } else {
            Some(shape(Tensor::f_from_slice(&real)?.f_to_kind(Kind::Bool)?)?)
        };
        Ok(Self {
            ids: shape(Tensor::f_from_slice(&ids)?)?,
            types: shape(Tensor::f_from_slice(&types)?)?,
            mask,
            batch: size[0],
            length: size[1],
        })
    }
}
