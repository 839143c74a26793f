//! How large batches and steps may be.

use super::context::Context;
use crate::config::TrainingConfig;
use crate::data::batches::BatchLimits;
use crate::model::Encoder;
use crate::torch::{Budget, Machine};
use tch::Kind;

/// Batches of a training configuration.
pub(crate) fn limits(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    BatchLimits { max_tokens: config.micro_tokens(machine), max_texts: 4096, max_padding: config.max_padding }
}

/// Batches where no gradients are wanted.
pub(crate) fn limits_without_gradients(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    BatchLimits { max_tokens: config.tokens_without_gradients(machine), ..limits(config, machine) }
}

/// Above this many tokens a step runs in two passes.
pub(crate) fn most_tokens(config: &TrainingConfig, machine: Machine) -> usize {
    config.most_tokens(machine)
}

/// What a training step of this encoder may take.
pub(crate) fn budget(context: &Context<'_>, encoder: &Encoder) -> Budget {
    let bytes = if context.machine.compute == Kind::BFloat16 { 2 } else { 4 };
    let (fixed, with_one) = (encoder.size().training_bytes(0, bytes), encoder.size().training_bytes(1, bytes));
    Budget { limit: context.config.run.memory_limit, fixed, per_token: with_one - fixed }
}

/// Batches of a step's queries, which are few and short. On the CPU a small batch costs little more than its tokens, so padding is
/// bounded as elsewhere; on a GPU a batch costs its launch, and some padded tokens are cheaper than more batches.
pub(crate) fn query_limits(config: &TrainingConfig, machine: Machine) -> BatchLimits {
    let tight = limits(config, machine);
    if machine.device == tch::Device::Cpu {
        tight
    } else {
        BatchLimits { max_padding: tight.max_padding.max(0.25), ..tight }
    }
}
