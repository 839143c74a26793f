//! Token sequences as the tensors a model takes: padded to one length, or packed one after the other.

use crate::data::batches::{Batch, BatchLimits, pack, pack_tight};
use crate::error::TrainError;
use crate::torch::{ready_for, send};
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

    /// The type of the token at a place.
    fn kind(&self, place: usize) -> i64 {
        i64::from(place >= self.second)
    }
}

/// How a model's sequences become tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// The padding token.
    pub pad: i64,
    /// Whether sequences are packed.
    pub packed: bool,
    /// Where the tensors go.
    pub device: Device,
}

impl Layout {
    /// Cuts sequences of given lengths into batches.
    pub fn batches(&self, lengths: &[usize], limits: &BatchLimits) -> Vec<Batch> {
        if self.packed { pack_tight(lengths, limits) } else { pack(lengths, limits) }
    }

    /// The tensors of a batch, in the host's memory; pinned where they go to a GPU, so that the way there takes no time of the host.
    ///
    /// # Errors
    /// When there is no sequence, one is empty, or libtorch fails.
    pub fn input(&self, sequences: &[&Sequence<'_>]) -> Result<Input, TrainError> {
        if sequences.is_empty() || sequences.iter().any(|s| s.is_empty()) {
            return Err(TrainError::internal("a model was given a text without tokens"));
        }
        let input = if self.packed {
            Input::Packed(Packed::new(sequences)?)
        } else {
            Input::Padded(Padded::new(sequences, self.pad, Device::Cpu)?)
        };
        input.map(|tensor| ready_for(tensor, self.device))
    }
}

/// Sequences of one batch.
#[derive(Debug)]
pub enum Input {
    /// Side by side, short ones padded.
    Padded(Padded),
    /// One after the other.
    Packed(Packed),
}

impl Input {
    /// Sequences.
    pub fn sequences(&self) -> i64 {
        match self {
            Self::Padded(input) => input.batch,
            Self::Packed(input) => input.lengths.len() as i64,
        }
    }

    /// Tokens that go through the model, padding included.
    pub fn tokens(&self) -> i64 {
        match self {
            Self::Padded(input) => input.batch * input.length,
            Self::Packed(input) => input.tokens,
        }
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> i64 {
        match self {
            Self::Padded(input) => input.length,
            Self::Packed(input) => input.longest,
        }
    }

    /// The same on a device. From pinned memory the host does not wait for it.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn to_device(&self, device: Device) -> Result<Self, TrainError> {
        self.map(|tensor| send(tensor, device))
    }

    fn map(&self, each: impl Fn(&Tensor) -> Result<Tensor, TrainError>) -> Result<Self, TrainError> {
        let maybe = |tensor: &Option<Tensor>| tensor.as_ref().map(&each).transpose();
        Ok(match self {
            Self::Padded(input) => Self::Padded(Padded {
                ids: each(&input.ids)?,
                types: maybe(&input.types)?,
                mask: maybe(&input.mask)?,
                ..*input
            }),
            Self::Packed(input) => Self::Packed(Packed {
                ids: each(&input.ids)?,
                types: maybe(&input.types)?,
                positions: each(&input.positions)?,
                starts: each(&input.starts)?,
                offsets: each(&input.offsets)?,
                counts: each(&input.counts)?,
                lengths: input.lengths.clone(),
                ..*input
            }),
        })
    }
}

/// Sequences of one batch, padded to the longest.
#[derive(Debug)]
pub struct Padded {
    /// `[batch, length]`, int64.
    pub ids: Tensor,
    /// `[batch, length]`, int64: 0 first text, 1 second; none when all are 0.
    pub types: Option<Tensor>,
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
            return Err(TrainError::internal("a model was given a text without tokens"));
        }
        let (rows, cells) = (sequences.len(), sequences.len() * length);
        let mut ids = vec![pad; cells];
        let mut types = vec![0i64; cells];
        let mut real = vec![false; cells];
        for (row, sequence) in sequences.iter().enumerate() {
            let start = row * length;
            for (place, &id) in sequence.ids.iter().enumerate() {
                ids[start + place] = i64::from(id);
                types[start + place] = sequence.kind(place);
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
            types: unless_zero(&types)?.map(shape).transpose()?,
            mask,
            batch: size[0],
            length: size[1],
        })
    }
}

/// Sequences of one batch, one after the other, nothing between them.
#[derive(Debug)]
pub struct Packed {
    /// `[tokens]`, int64.
    pub ids: Tensor,
    /// `[tokens]`, int64: 0 first text, 1 second; none when all are 0.
    pub types: Option<Tensor>,
    /// `[tokens]`, int64: places within their sequences, from 0.
    pub positions: Tensor,
    /// `[sequences]`, int64: where each begins.
    pub starts: Tensor,
    /// `[sequences + 1]`, int32: the same, and the end of the last.
    pub offsets: Tensor,
    /// `[sequences]`, int64: tokens of each.
    pub counts: Tensor,
    /// Tokens of each, for the host.
    pub lengths: Vec<i64>,
    /// Tokens of all.
    pub tokens: i64,
    /// Tokens of the longest.
    pub longest: i64,
}

impl Packed {
    /// Lays sequences one after the other, in the host's memory.
    fn new(sequences: &[&Sequence<'_>]) -> Result<Self, TrainError> {
        let tokens = sequences.iter().map(|s| s.len()).sum();
        let (mut ids, mut types, mut positions) =
            (Vec::with_capacity(tokens), Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        let mut offsets = vec![0i32];
        for sequence in sequences {
            ids.extend(sequence.ids.iter().map(|&id| i64::from(id)));
            types.extend((0..sequence.len()).map(|place| sequence.kind(place)));
            positions.extend(0..sequence.len() as i64);
            let end = i32::try_from(ids.len()).map_err(|_| TrainError::internal("a batch has too many tokens"))?;
            offsets.push(end);
        }
        let lengths: Vec<i64> = sequences.iter().map(|s| s.len() as i64).collect();
        let starts: Vec<i64> = offsets.iter().take(lengths.len()).map(|&o| i64::from(o)).collect();
        Ok(Self {
            ids: Tensor::f_from_slice(&ids)?,
            types: unless_zero(&types)?,
            positions: Tensor::f_from_slice(&positions)?,
            starts: Tensor::f_from_slice(&starts)?,
            offsets: Tensor::f_from_slice(&offsets)?,
            counts: Tensor::f_from_slice(&lengths)?,
            tokens: tokens as i64,
            longest: lengths.iter().copied().max().unwrap_or(0),
            lengths,
        })
    }

    /// Runs of neighbours of equal length: how many, and the length.
    pub(crate) fn runs(&self) -> Vec<(i64, i64)> {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for &length in &self.lengths {
            match runs.last_mut() {
                Some((count, known)) if *known == length => *count += 1,
                _ => runs.push((1, length)),
            }
        }
        runs
    }
}

fn unless_zero(types: &[i64]) -> Result<Option<Tensor>, TrainError> {
    if types.iter().all(|&kind| kind == 0) { Ok(None) } else { Ok(Some(Tensor::f_from_slice(types)?)) }
}
