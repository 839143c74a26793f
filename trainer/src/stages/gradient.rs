//! Loss and gradients of a step whose texts go through the model in several batches.

use crate::data::batches::{Batch, BatchLimits, Padding};
use crate::error::TrainError;
use crate::model::{Input, Layout, Mode, Sequence};
use crate::report::Reporter;
use crate::torch::{Budget, Later, clear_gradients, is_out_of_memory, ready_for, release, send};
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::{Kind, Tensor};

/// Texts that the loss sees together: queries, passages.
pub(crate) struct Group {
    /// Model inputs.
    pub(crate) sequences: Vec<Sequence<'static>>,
    /// Bounds of their batches. Padded texts are batched within their group, since queries are so much shorter than passages;
    /// packed ones with those of all groups, within the bounds of the first.
    pub(crate) limits: BatchLimits,
}

/// A step's texts, cut into batches whose tensors lie in the host's memory. Made ahead, on a thread of its own.
pub(crate) struct Work {
    groups: Vec<Group>,
    layout: Layout,
    /// No batch holds more tokens than this, whatever the groups' limits allow; a single text may.
    cap: usize,
    parts: Vec<Part>,
    /// For each group, the rows of its sequences among those of all batches.
    places: Vec<Tensor>,
    pub(crate) padding: Padding,
}

/// One batch.
struct Part {
    input: Input,
    /// Its first row among those of all batches.
    first: i64,
}

impl Work {
    /// Cuts groups into batches of at most `cap` tokens, a single longer text alone.
    ///
    /// # Errors
    /// When a text is empty, or libtorch fails.
    pub(crate) fn new(groups: Vec<Group>, layout: Layout, cap: usize) -> Result<Self, TrainError> {
        let empty = Self { groups, layout, cap, parts: Vec::new(), places: Vec::new(), padding: Padding::default() };
        empty.cut(cap)
    }

    /// The same texts in batches of at most `cap` tokens.
    fn cut(mut self, cap: usize) -> Result<Self, TrainError> {
        self.cap = cap;
        self.parts.clear();
        self.padding = Padding::default();
        let mut rows: Vec<Vec<i64>> = self.groups.iter().map(|g| vec![0; g.sequences.len()]).collect();
        let all: Vec<Vec<(usize, usize)>> = if self.layout.packed {
            let numbers = |(group, g): (usize, &Group)| (0..g.sequences.len()).map(move |text| (group, text));
            vec![self.groups.iter().enumerate().flat_map(numbers).collect()]
        } else {
            self.groups
                .iter()
                .enumerate()
                .map(|(group, g)| (0..g.sequences.len()).map(|t| (group, t)).collect())
                .collect()
        };
        let mut first = 0;
        for texts in all.iter().filter(|texts| !texts.is_empty()) {
            let lengths: Vec<usize> = texts.iter().map(|&(g, t)| self.groups[g].sequences[t].len()).collect();
            let limits = self.groups[texts[0].0].limits;
            let limits = BatchLimits { max_tokens: limits.max_tokens.min(cap), ..limits };
            for Batch { texts: members, .. } in self.layout.batches(&lengths, &limits) {
                let members: Vec<(usize, usize)> = members.into_iter().map(|at| texts[at]).collect();
                let sequences: Vec<&Sequence<'_>> =
                    members.iter().map(|&(g, t)| &self.groups[g].sequences[t]).collect();
                let input = self.layout.input(&sequences)?;
                self.padding.real += sequences.iter().map(|s| s.len()).sum::<usize>();
                self.padding.padded += input.tokens() as usize;
                for (row, &(group, text)) in members.iter().enumerate() {
                    rows[group][text] = first + row as i64;
                }
                self.parts.push(Part { input, first });
                first += members.len() as i64;
            }
        }
        let device = self.layout.device;
        self.places =
            rows.iter().map(|rows| ready_for(&Tensor::f_from_slice(rows)?, device)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Tokens of the largest batch, padding included.
    fn largest(&self) -> usize {
        self.parts.iter().map(|part| part.input.tokens() as usize).max().unwrap_or(0)
    }

    /// Whether no smaller batch could take the place of the largest.
    fn largest_is_one_text(&self) -> bool {
        self.parts.iter().max_by_key(|part| part.input.tokens()).is_none_or(|part| part.input.sequences() == 1)
    }

    /// The lengths of all sequences.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flat_map(|group| group.sequences.iter().map(Sequence::len))
    }
}

/// What a model makes of one batch: one row (or one number) a sequence.
pub(crate) type Forward<'a> = dyn Fn(&Input, Mode) -> Result<Tensor, TrainError> + 'a;

/// How a step is computed.
pub(crate) struct Pass {
    pub(crate) mode: Mode,
    /// Above this many tokens the step runs in two passes.
    pub(crate) most_tokens: usize,
    /// Seeds dropout, batch by batch, so that both passes drop the same.
    pub(crate) seed: u64,
    /// What the step may take.
    pub(crate) budget: Budget,
}

/// The outcome.
pub(crate) struct Computed {
    pub(crate) loss: Later,
    pub(crate) padding: Padding,
}

impl Pass {
    fn takes_two_passes(&self, work: &Work) -> bool {
        work.padding.padded > self.most_tokens && work.parts.len() > 1
    }

    /// Tokens whose activations are in memory together.
    fn tokens_at_once(&self, work: &Work) -> usize {
        if self.takes_two_passes(work) { work.largest() } else { work.padding.padded }
    }

    /// Runs all batches, hands the rows of each group, in the order of its sequences, to `loss`, and adds the gradients to the
    /// parameters. When the loss is not finite, they are not either.
    ///
    /// With few tokens everything stays in one graph. With many, a first pass without gradients gives the rows, the loss gives
    /// the rows' gradients, and a second pass, batch by batch, carries them on to the parameters: the same gradients at the memory
    /// of one batch (known as gradient caching).
    pub(crate) fn run(
        &self,
        work: &Work,
        forward: &Forward<'_>,
        loss: &mut dyn FnMut(&[Tensor]) -> Result<Tensor, TrainError>,
    ) -> Result<Computed, TrainError> {
        let padding = work.padding;
        let device = work.layout.device;
        let two_passes = self.takes_two_passes(work);
        self.budget.check(self.tokens_at_once(work))?;
        let places = work.places.iter().map(|place| send(place, device)).collect::<Result<Vec<_>, TrainError>>()?;
        let rows_of = |number: usize, part: &Part| -> Result<Tensor, TrainError> {
            let input = part.input.to_device(device)?;
            if self.mode.dropout > 0.0 {
                tch::manual_seed(
                    (self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64) >> 1) as i64,
                );
            }
            forward(&input, self.mode)
        };
        let rows = work
            .parts
            .iter()
            .enumerate()
            .map(
                |(number, part)| {
                    if two_passes { tch::no_grad(|| rows_of(number, part)) } else { rows_of(number, part) }
                },
            )
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = Tensor::f_cat(&rows, 0)?;
        drop(rows);
        if two_passes {
            all = all.f_detach()?.f_set_requires_grad(true)?;
        }
        // Batches are in order of length; the loss wants the groups' order.
        let inputs =
            places.iter().map(|place| Ok(all.f_index_select(0, place)?)).collect::<Result<Vec<_>, TrainError>>()?;
        let total = loss(&inputs)?;
        total.f_backward()?;
        if two_passes {
            let gradients = all.f_grad()?;
            for (number, part) in work.parts.iter().enumerate() {
                let rows = rows_of(number, part)?;
                let gradient = gradients.f_narrow(0, part.first, part.input.sequences())?;
                rows.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            }
        }
        Ok(Computed { loss: Later::new(&total)?, padding })
    }
}

/// How large batches may be for a step to fit in memory: as configured, until a step does not fit.
pub(crate) struct MemoryBound<'a> {
    /// No batch holds more tokens than this. `usize::MAX`: as configured.
    cap: AtomicUsize,
    reporter: &'a Reporter,
    stage: &'static str,
}

impl<'a> MemoryBound<'a> {
    pub(crate) fn new(stage: &'static str, reporter: &'a Reporter, cap: usize) -> Self {
        Self { cap: AtomicUsize::new(cap), reporter, stage }
    }

    /// The most tokens of a batch now.
    pub(crate) fn cap(&self) -> usize {
        self.cap.load(Ordering::Relaxed)
    }

    /// As [`Pass::run`]. A step for which memory does not suffice is begun again, without what it left behind, in batches half as
    /// large, each with a graph of its own; what comes out is what those batches would have given from the start. Later steps
    /// keep to that size.
    ///
    /// # Errors
    /// [`TrainError::OutOfMemory`] when even the longest text alone does not fit; whatever libtorch says.
    pub(crate) fn run(
        &self,
        pass: &Pass,
        mut work: Work,
        parameters: &[Tensor],
        forward: &Forward<'_>,
        loss: &mut dyn FnMut(&[Tensor]) -> Result<Tensor, TrainError>,
    ) -> Result<Computed, TrainError> {
        loop {
            let cap = self.cap();
            if work.cap > cap {
                // Made ahead of the shortage.
                work = work.cut(cap)?;
            }
            let pass = Pass { most_tokens: pass.most_tokens.min(cap), ..*pass };
            let error = match pass.run(&work, forward, loss) {
                Err(error) if is_out_of_memory(&error) => error,
                other => return other,
            };
            clear_gradients(parameters)?;
            release(work.layout.device)?;
            let (largest, at_once) = (work.largest(), pass.tokens_at_once(&work));
            // libtorch puts a backtrace below the words.
            let error = error.to_string();
            let error = error.lines().next().unwrap_or_default();
            // Batches that shared one graph come one by one first; those that came one by one are halved.
            let smaller = if at_once > largest { largest } else { largest.min(cap) / 2 };
            if at_once == largest && work.largest_is_one_text() || smaller == 0 {
                return Err(TrainError::OutOfMemory(format!(
                    "{error}; the longest text, of {} tokens, goes through the model alone already: shorten \
                     `passage_length`, freeze layers, or allow more memory",
                    work.lengths().max().unwrap_or(0)
                )));
            }
            self.cap.store(smaller, Ordering::Relaxed);
            self.reporter.say(&format!(
                "{}: out of memory with {at_once} tokens at once ({error}); the step begins again with {smaller} at once, \
                 and so do those after it",
                self.stage
            ));
        }
    }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
