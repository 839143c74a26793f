//! Rounds of distillation: each mines with the student of the one before and fuses the teacher anew.

use super::context::Context;
use std::path::PathBuf;

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// Counted from 0.
    pub(crate) number: usize,
    /// The model folder that its distillation starts from.
    pub(crate) base: PathBuf,
    /// Key of that model: what it depends on.
    pub(crate) base_key: String,
}

impl Round {
    /// The name of a stage's folder in this round: the first round's are those of a run of one round.
    pub(crate) fn folder_name(&self, stage: &str) -> String {
        match self.number {
            0 => stage.to_owned(),
            number => format!("round-{}-{stage}", number + 1),
        }
    }

    /// Where its mined candidates and vectors are.
    pub(crate) fn mine_folder(&self, context: &Context<'_>) -> PathBuf {
        // Later rounds mine with a student that is not shared with other runs of the same output.
        let name = self.folder_name("mine");
        if self.number == 0 { context.shared_path(&name) } else { context.own_path(&name) }
    }
}
