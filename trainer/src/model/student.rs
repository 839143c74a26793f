//! The student: an encoder, pooling, and lengths brought to 1 where the folder says so.

use super::encoder::{Encoder, Mode};
use super::folder::{ModelTokenizer, Prompts, copy_model_files};
use super::input::{Input, Sequence};
use super::pooling::{Pooling, normalise};
use crate::data::batches::BatchLimits;
use crate::error::TrainError;
use crate::export::head::Head;
use crate::export::source::Source;
use crate::torch::Machine;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// A dual encoder with one tower for queries and passages.
#[derive(Debug)]
pub struct Student {
    /// The encoder with its parameters.
    pub encoder: Encoder,
    /// Its tokenizer.
    pub tokens: ModelTokenizer,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Whether vectors have length 1.
    pub normalised: bool,
    /// Texts put before queries and documents.
    pub prompts: Prompts,
    /// Most tokens of a text outside training, special ones included.
    pub max_length: usize,
    folder: PathBuf,
}

impl Student {
    /// Reads a folder in sentence-transformers or plain Hugging Face layout.
    ///
    /// # Errors
    /// When the folder is broken or asks for what is not supported.
    pub fn open(folder: &Path, machine: Machine) -> Result<Self, TrainError> {
        let source = Source::read(folder)?;
        let (pooling, normalised) = match source.sentence_head()? {
            Head::Sentence { pooling, normalised } => (pooling, normalised),
            _ => return Err(TrainError::data(folder, "is no sentence encoder")),
        };
        Ok(Self {
            encoder: Encoder::open(folder, machine)?,
            tokens: ModelTokenizer::open(folder)?,
            pooling,
            normalised,
            prompts: Prompts { query: source.query_prompt.clone(), document: source.document_prompt.clone() },
            max_length: source.max_length,
            folder: folder.to_owned(),
        })
    }

    /// Vectors of one batch, `[batch, hidden]` in f32, of length 1 where the folder says so.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn embed(&self, input: &Input, mode: Mode) -> Result<Tensor, TrainError> {
        let tokens = self.encoder.forward(input, mode)?;
        let rows = self.pooling.pool_batch(&tokens, input)?;
        if self.normalised { normalise(&rows) } else { Ok(rows) }
    }

    /// Rows cut to their first `values`, of length 1 again where the student's are.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn cut(&self, rows: &Tensor, values: usize) -> Result<Tensor, TrainError> {
        let rows = rows.f_narrow(1, 0, values as i64)?;
        if self.normalised { normalise(&rows) } else { Ok(rows) }
    }

    /// The losses of whole rows and of rows cut to each of `cuts`: their mean is a Matryoshka loss. `loss` is given the rows of
    /// each group.
    ///
    /// # Errors
    /// When libtorch or `loss` fails.
    pub fn nested_loss(
        &self,
        rows: &[Tensor],
        cuts: &[usize],
        loss: &mut dyn FnMut(&[Tensor]) -> Result<Tensor, TrainError>,
    ) -> Result<Tensor, TrainError> {
        // Whole rows last: what `loss` notes beside its value is then theirs.
        let mut sum: Option<Tensor> = None;
        for &values in cuts {
            let cut = rows.iter().map(|group| self.cut(group, values)).collect::<Result<Vec<_>, _>>()?;
            let part = loss(&cut)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&part)?,
                None => part,
            });
        }
        let whole = loss(rows)?;
        match sum {
            Some(sum) => Ok(sum.f_add(&whole)?.f_div_scalar(cuts.len() as f64 + 1.0)?),
            None => Ok(whole),
        }
    }

    /// Vectors of any number of sequences, without gradients, in the order given: `[sequences, hidden]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn embed_all(
        &self,
        sequences: &[Sequence<'_>],
        limits: &BatchLimits,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Tensor, TrainError> {
        let lengths: Vec<usize> = sequences.iter().map(Sequence::len).collect();
        let (machine, layout) = (self.encoder.machine(), self.encoder.layout());
        let mut order = Vec::with_capacity(sequences.len());
        let mut parts = Vec::new();
        for batch in layout.batches(&lengths, limits) {
            let members: Vec<&Sequence<'_>> = batch.texts.iter().map(|&i| &sequences[i]).collect();
            let input = layout.input(&members)?.to_device(machine.device)?;
            parts.push(tch::no_grad(|| self.embed(&input, self.encoder.inference()))?);
            order.extend(batch.texts.iter().map(|&i| i as i64));
            progress(batch.texts.len());
        }
        if parts.is_empty() {
            return Ok(Tensor::f_zeros([0, self.encoder.hidden() as i64], (tch::Kind::Float, machine.device))?);
        }
        let mut place = vec![0i64; order.len()];
        for (row, &sequence) in order.iter().enumerate() {
            place[sequence as usize] = row as i64;
        }
        let place = Tensor::f_from_slice(&place)?.f_to_device(machine.device)?;
        Ok(Tensor::f_cat(&parts, 0)?.f_index_select(0, &place)?)
    }

    /// Writes a folder in the layout it was read from, with the weights as they are now.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        copy_model_files(&self.folder, folder)?;
        self.encoder.parameters.write(&folder.join("model.safetensors"))
    }
}
