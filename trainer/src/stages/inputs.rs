//! How the student reads queries and passages while it trains.

use super::context::{Context, PROMPT_TOKENS, Texts};
use crate::adam::random::KeyedRandom;
use crate::config::Window;
use crate::error::TrainError;
use crate::model::{Sequence, Student};
use std::collections::HashMap;

/// How the student reads queries and passages while it trains.
pub(crate) struct StudentInputs<'a> {
    pub(crate) texts: &'a Texts,
    pub(crate) query_prompt: Vec<u32>,
    pub(crate) passage_prompt: Vec<u32>,
    pub(crate) query_length: usize,
    pub(crate) passage_length: usize,
    window: Window,
    /// Of windows.
    seed: u64,
}

impl<'a> StudentInputs<'a> {
    pub(crate) fn new(context: &'a Context<'_>, student: &Student) -> Result<Self, TrainError> {
        let prompt = |text: &str| -> Result<Vec<u32>, TrainError> {
            let made = crate::data::tokens::tokenize(student.tokens.tokenizer(), 1, &|_| text.into(), PROMPT_TOKENS)?;
            Ok(made.get(0).to_vec())
        };
        let longest = student.encoder.longest();
        Ok(Self {
            texts: &context.texts,
            query_prompt: prompt(&student.prompts.query)?,
            passage_prompt: prompt(&student.prompts.document)?,
            query_length: context.config.student.query_length.min(longest),
            passage_length: context.config.student.passage_length.min(longest),
            window: context.config.student.passage_window,
            seed: context.config.run.distil_seed(),
        })
    }

    /// A query by its number.
    pub(crate) fn query(&self, query: usize) -> Sequence<'static> {
        let content = self.texts.queries.get(query);
        self.texts.tokens.single(&[self.query_prompt.as_slice(), content].concat(), self.query_length)
    }

    /// A passage's content.
    pub(crate) fn passage(&self, content: &[u32]) -> Sequence<'static> {
        self.texts.tokens.single(&[self.passage_prompt.as_slice(), content].concat(), self.passage_length)
    }

    /// The part of a longer passage that an epoch reads, where that is not its start.
    pub(crate) fn window(&self, passage: u32, epoch: u32) -> Option<&[u32]> {
        let tokens = self.texts.passages.get(passage as usize);
        let budget = self.passage_budget();
        let draws = self.window == Window::Random && tokens.len() > budget;
        draws.then(|| {
            let key: [&[u8]; 2] = [&passage.to_le_bytes(), &epoch.to_le_bytes()];
            let start = KeyedRandom::new("window", self.seed, &key).below(tokens.len() - budget + 1);
            &tokens[start..start + budget]
        })
    }

    /// Passages of a step that are read without the part that a query was made of, by their numbers; given queries with their positives.
    pub(crate) fn edited<'b>(
        &'b self,
        positives: impl Iterator<Item = (&'b usize, &'b u32)>,
    ) -> HashMap<u32, &'b [u32]> {
        positives.filter_map(|(query, &positive)| Some((positive, self.texts.edited.get(query)?.as_slice()))).collect()
    }

    /// Most content tokens of a passage.
    pub(crate) fn passage_budget(&self) -> usize {
        self.passage_length.saturating_sub(self.passage_prompt.len() + self.texts.tokens.overhead())
    }
}
