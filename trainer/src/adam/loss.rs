//! The losses, on tensors.
//!
//! Everything here works in the kind of its input; training gives f32 whatever the precision of the model, tests give f64.
//! Lists may differ in length: absent candidates are masked out and have no part in any sum.

use crate::error::TrainError;
use crate::torch::{ready_for, send};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// How the student learns from the teacher's scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distillation {
    /// Kullback-Leibler divergence between the softmaxes over a query's candidates.
    #[default]
    Kl,
    /// Mean squared difference of margins: positive minus candidate, teacher's against student's.
    MarginMse,
}

/// Which passages the distillation term compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListScope {
    /// A query's own candidates.
    #[default]
    Own,
    /// Every passage of the step. Needs a teacher whose scores cost nothing.
    Batch,
}

impl ListScope {
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// Weights and temperatures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// `a`, the weight of the contrastive term.
    pub contrastive: f64,
    /// `b`, the weight of the distillation term.
    pub distillation: f64,
    /// Kind of the distillation term.
    pub kind: Distillation,
    /// `T_t`: the teacher's logits are divided by it.
    pub teacher_temperature: f64,
    /// `T_s`: the student's scores are divided by it in the distillation term.
    pub student_temperature: f64,
    /// The student's similarity is multiplied by this before both terms. A cosine lies in -1..1, and a softmax over numbers so close
    /// together is almost flat: 20 to 50 for students whose vectors have length 1, 1 for others.
    pub scale: f64,
    /// Whether the contrastive term also sees the other queries' passages.
    pub in_batch: bool,
    /// Which passages the distillation term compares.
    #[serde(skip_serializing_if = "ListScope::is_own")]
    pub list: ListScope,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            contrastive: 1.0,
            distillation: 1.0,
            kind: Distillation::Kl,
            teacher_temperature: 1.0,
            student_temperature: 1.0,
            scale: 20.0,
            in_batch: true,
            list: ListScope::Own,
        }
    }
}

impl LossConfig {
    /// What is wrong with these settings, as a sentence; nothing when all is well.
    pub fn problem(&self) -> Option<String> {
        for (name, value) in [("contrastive", self.contrastive), ("distillation", self.distillation)] {
            if !value.is_finite() || value < 0.0 {
                return Some(format!("`{name}` must be 0 or more, and is {value}"));
            }
        }
        for (name, value) in [
            ("teacher_temperature", self.teacher_temperature),
            ("student_temperature", self.student_temperature),
            ("scale", self.scale),
        ] {
            if !value.is_finite() || value <= 0.0 {
                return Some(format!("`{name}` must be above 0, and is {value}"));
            }
        }
        (self.contrastive == 0.0 && self.distillation == 0.0)
            .then(|| "`contrastive` and `distillation` are both 0: there is nothing to learn".to_owned())
    }
}

/// Stands for minus infinity: its exponential is 0 in every kind, and 0 times it is 0 and no NaN.
const ABSENT: f64 = -1e30;

/// `log softmax` along the last axis over the entries where `present` is true; others get a very low number.
fn masked_log_softmax(logits: &Tensor, present: &Tensor) -> Result<Tensor, TrainError> {
    let masked = logits.f_masked_fill(&present.f_logical_not()?, ABSENT)?;
    Ok(masked.f_log_softmax(-1, logits.kind())?)
}

/// Listwise cross-entropy of `[queries, candidates]` logits whose first column is the positive: one number a query.
///
/// # Errors
/// When libtorch fails.
pub fn listwise(logits: &Tensor, present: &Tensor) -> Result<Tensor, TrainError> {
    Ok(masked_log_softmax(logits, present)?.f_select(1, 0)?.f_neg()?)
}

/// Cross-entropy of each query's positive among the passages it may be compared with.
///
/// `scores` is `[queries, passages]`, `allowed` says which passages count for which query (its own candidates, and others' that are
/// neither known positives nor of the same text), `positive` is `[queries]`, the column of each positive.
///
/// # Errors
/// When libtorch fails.
pub fn contrastive(scores: &Tensor, allowed: &Tensor, positive: &Tensor) -> Result<Tensor, TrainError> {
    let logs = masked_log_softmax(scores, allowed)?;
    Ok(logs.f_gather(1, &positive.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?.f_neg()?)
}

/// `T_s^2 * sum_C p_T (log p_T - log p_S)`, and its parts by candidate, `[queries, candidates]`, whose row sums it is.
///
/// # Errors
/// When libtorch fails.
pub fn divergence(
    student: &Tensor,
    teacher: &Tensor,
    present: &Tensor,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Result<Tensor, TrainError> {
    let target = masked_log_softmax(&teacher.f_div_scalar(teacher_temperature)?, present)?;
    let given = masked_log_softmax(&student.f_div_scalar(student_temperature)?, present)?;
    let parts = target.f_exp()?.f_mul(&target.f_sub(&given)?)?;
    Ok(parts.f_masked_fill(&present.f_logical_not()?, 0.0)?.f_mul_scalar(student_temperature * student_temperature)?)
}

/// Squared differences of margins by candidate, divided by the number of pairs; row sums are the loss. The first column is the
/// positive and contributes nothing.
///
/// # Errors
/// When libtorch fails.
pub fn margin_mse(
    student: &Tensor,
    teacher: &Tensor,
    present: &Tensor,
    teacher_temperature: f64,
) -> Result<Tensor, TrainError> {
    let margin = |scores: &Tensor| -> Result<Tensor, TrainError> { Ok(scores.f_narrow(1, 0, 1)?.f_sub(scores)?) };
    let teacher = margin(&teacher.f_div_scalar(teacher_temperature)?)?;
    let gap = margin(student)?.f_sub(&teacher)?.f_square()?;
    let pairs = present.f_to_kind(student.kind())?.f_sum_dim_intlist(1, true, student.kind())?;
    let pairs = pairs.f_sub_scalar(1.0)?.f_clamp_min(1.0)?;
    Ok(gap.f_masked_fill(&present.f_logical_not()?, 0.0)?.f_div(&pairs)?)
}

/// Everything about a step that does not depend on the student.
#[derive(Debug)]
pub struct StepTargets {
    /// `[queries, candidates]`, int64: columns of the score matrix. The first is the positive; absent ones point anywhere.
    pub candidates: Tensor,
    /// `[queries, candidates]`, bool: which are there, natural and dark.
    pub present: Tensor,
    /// `[queries, candidates]`, bool: which of them are natural, the positive included.
    pub natural: Tensor,
    /// `[queries, candidates]`: the teacher's raw logits; anything where absent.
    pub teacher: Tensor,
    /// `[queries, passages]`, bool: what the contrastive term compares with.
    pub allowed: Tensor,
    /// `[queries]`: factor on the contrastive term.
    pub contrastive: Tensor,
    /// `[queries]`: factor on the distillation over natural candidates.
    pub natural_share: Tensor,
    /// `[queries]`: factor on the distillation over all candidates.
    pub dark_share: Tensor,
}

impl StepTargets {
    /// The same on a device.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn to_device(&self, device: Device) -> Result<Self, TrainError> {
        self.map(|tensor| send(tensor, device))
    }

    /// The same, ready for the way to a device.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn ready_for(&self, device: Device) -> Result<Self, TrainError> {
        self.map(|tensor| ready_for(tensor, device))
    }

    fn map(&self, each: impl Fn(&Tensor) -> Result<Tensor, TrainError>) -> Result<Self, TrainError> {
        Ok(Self {
            candidates: each(&self.candidates)?,
            present: each(&self.present)?,
            natural: each(&self.natural)?,
            teacher: each(&self.teacher)?,
            allowed: each(&self.allowed)?,
            contrastive: each(&self.contrastive)?,
            natural_share: each(&self.natural_share)?,
            dark_share: each(&self.dark_share)?,
        })
    }
}

/// A step's loss and what it is made of.
#[derive(Debug)]
pub struct StepLoss {
    /// What is minimised.
    pub total: Tensor,
    /// Mean contrastive term, before its weight.
    pub contrastive: Tensor,
    /// Mean distillation term, before its weight.
    pub distillation: Tensor,
    /// `[queries, candidates]`: the distillation over all candidates by candidate, without gradient, for the log.
    pub by_candidate: Tensor,
}

/// `L = a * L_CE + b * [v * L_KD(C) + (1 - v) * L_KD({d+} u N)]`, the mean over queries, from `[queries, passages]` similarities.
///
/// # Errors
/// When libtorch fails.
pub fn step_loss(similarities: &Tensor, targets: &StepTargets, config: &LossConfig) -> Result<StepLoss, TrainError> {
    let kind = similarities.kind();
    let scores = similarities.f_mul_scalar(config.scale)?;
    let positive = targets.candidates.f_select(1, 0)?;
    let contrast = contrastive(&scores, &targets.allowed, &positive)?.f_mul(&targets.contrastive)?.f_mean(kind)?;
    let own = scores.f_gather(1, &targets.candidates, false)?;
    let distil = |present: &Tensor| match config.kind {
        Distillation::Kl => {
            divergence(&own, &targets.teacher, present, config.student_temperature, config.teacher_temperature)
        }
        Distillation::MarginMse => margin_mse(&own, &targets.teacher, present, config.teacher_temperature),
    };
    let all = distil(&targets.present)?;
    let natural = distil(&targets.natural)?;
    let sum = |parts: &Tensor| parts.f_sum_dim_intlist(1, false, kind);
    let distillation =
        sum(&all)?.f_mul(&targets.dark_share)?.f_add(&sum(&natural)?.f_mul(&targets.natural_share)?)?.f_mean(kind)?;
    let total = contrast.f_mul_scalar(config.contrastive)?.f_add(&distillation.f_mul_scalar(config.distillation)?)?;
    Ok(StepLoss {
        total,
        contrastive: contrast.detach(),
        distillation: distillation.detach(),
        by_candidate: all.detach(),
    })
}

/// A mask from rows of flags.
pub(crate) fn flags(rows: &[Vec<bool>]) -> Result<Tensor, TrainError> {
    let width = rows.first().map_or(0, Vec::len);
    let flat: Vec<bool> = rows.concat();
    Ok(Tensor::f_from_slice(&flat)?.f_to_kind(Kind::Bool)?.f_view([rows.len() as i64, width as i64])?)
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
