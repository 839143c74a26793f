//! Loss and gradients of a step whose texts go through the model in several batches.

use crate::data::batches::{Batch, BatchLimits, Padding, pack};
use crate::error::TrainError;
use crate::model::{Mode, Padded, Sequence};
use tch::{Device, Kind, Tensor};

/// Texts that are batched among themselves: queries are so much shorter than passages that they get batches of their own.
pub(crate) struct Group<'a> {
    /// Model inputs.
    pub(crate) sequences: Vec<Sequence<'a>>,
    /// Bounds of their batches.
    pub(crate) limits: BatchLimits,
}

/// What a model makes of one batch: one row (or one number) a sequence.
pub(crate) type Forward<'a> = dyn Fn(&Padded, Mode) -> Result<Tensor, TrainError> + 'a;

/// How a step is computed.
pub(crate) struct Pass {
    pub(crate) device: Device,
    pub(crate) pad: i64,
    pub(crate) mode: Mode,
    /// Above this many tokens the step runs in two passes.
    pub(crate) most_tokens: usize,
    /// Seeds dropout, batch by batch, so that both passes drop the same.
    pub(crate) seed: u64,
}

/// The outcome.
pub(crate) struct Computed {
    pub(crate) loss: f64,
    pub(crate) padding: Padding,
}

impl Pass {
    /// Runs all groups, hands the rows of each group, in the order of its sequences, to `loss`, and adds the gradients to the
    /// parameters. When the loss is not finite nothing is added.
    ///
    /// With few tokens everything stays in one graph. With many, a first pass without gradients gives the rows, the loss gives
    /// the rows' gradients, and a second pass, batch by batch, carries them on to the parameters: the same gradients at the memory
    /// of one batch (known as gradient caching).
    pub(crate) fn run(
        &self,
        groups: &[Group<'_>],
        forward: &Forward<'_>,
        loss: &mut dyn FnMut(&[Tensor]) -> Result<Tensor, TrainError>,
    ) -> Result<Computed, TrainError> {
        let mut padding = Padding::default();
        let mut batches: Vec<(usize, Batch)> = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let lengths: Vec<usize> = group.sequences.iter().map(Sequence::len).collect();
            let packed = pack(&lengths, &group.limits);
            let counted = Padding::of(&packed, &lengths);
            padding.real += counted.real;
            padding.padded += counted.padded;
            batches.extend(packed.into_iter().map(|batch| (number, batch)));
        }
        let two_passes = padding.padded > self.most_tokens;
        let rows_of = |place: usize, group: usize, batch: &Batch| -> Result<Tensor, TrainError> {
            let members: Vec<&Sequence<'_>> = batch.texts.iter().map(|&i| &groups[group].sequences[i]).collect();
            let input = Padded::new(&members, self.pad, self.device)?;
            if self.mode.dropout > 0.0 {
                tch::manual_seed(
                    (self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(place as u64) >> 1) as i64,
                );
            }
            forward(&input, self.mode)
        };
        let parts: Vec<Tensor> = batches
            .iter()
            .enumerate()
            .map(|(place, (group, batch))| {
                if two_passes { tch::no_grad(|| rows_of(place, *group, batch)) } else { rows_of(place, *group, batch) }
            })
            .collect::<Result<_, _>>()?;

        // Batches are in order of length; the loss wants the groups' order.
        let mut inputs = Vec::with_capacity(groups.len());
        for (number, group) in groups.iter().enumerate() {
            let mut place = vec![0i64; group.sequences.len()];
            let mut row = 0;
            let mut members = Vec::new();
            for ((owner, batch), part) in batches.iter().zip(&parts) {
                if *owner == number {
                    for &text in &batch.texts {
                        place[text] = row;
                        row += 1;
                    }
                    members.push(part);
                }
            }
            let place = Tensor::f_from_slice(&place)?.f_to_device(self.device)?;
            inputs.push(Tensor::f_cat(&members, 0)?.f_index_select(0, &place)?);
        }
        if two_passes {
            inputs = inputs
                .iter()
                .map(|rows| Ok(rows.f_detach()?.f_set_requires_grad(true)?))
                .collect::<Result<_, TrainError>>()?;
        }
        let total = loss(&inputs)?;
        let value = f64::try_from(total.f_to_kind(Kind::Double)?)?;
        if !value.is_finite() {
            return Ok(Computed { loss: value, padding });
        }
        total.f_backward()?;
        if two_passes {
            drop(parts);
            for (place, (group, batch)) in batches.iter().enumerate() {
                let rows = rows_of(place, *group, batch)?;
                let texts: Vec<i64> = batch.texts.iter().map(|&i| i as i64).collect();
                let texts = Tensor::f_from_slice(&texts)?.f_to_device(self.device)?;
                let gradient = inputs[*group].f_grad()?.f_index_select(0, &texts)?;
                rows.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            }
        }
        Ok(Computed { loss: value, padding })
    }
}
