//! Opening the models that a command names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adam_encoder::{EncoderOptions, Hub, Precision, Provider, SentenceEncoder, TextKind};
use adam_plugin::{Chunking, Engine, EngineBuilder, PinnedModel, Reranker};
use anyhow::{Result, bail};
use clap::Args;
use tantivy_dense::Device;

use crate::error::WrongCall;
use crate::screen::tell;
use crate::values;

/// Where models run.
#[derive(Clone, Debug, Args)]
pub(crate) struct RuntimeArgs {
    /// Threads of the model; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0, env = "ADAM_THREADS")]
    pub(crate) threads: usize,
    /// Where the model runs, in order of preference: cpu, cuda or cuda:DEVICE, tensorrt, migraphx, directml, openvino, coreml. All
    /// but cpu need a build of ONNX Runtime that has them (ORT_DYLIB_PATH names the library or its folder); one that is absent
    /// is an error.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', env = "ADAM_PROVIDER", value_parser = values::provider())]
    pub(crate) provider: Vec<Provider>,
}

impl RuntimeArgs {
    pub(crate) fn options(&self) -> EncoderOptions {
        EncoderOptions::default().threads(self.threads).providers(self.provider.clone())
    }

    /// For one question: a model with one session opens fastest.
    pub(crate) fn options_for_one(&self) -> EncoderOptions {
        self.options().sessions(1)
    }
}

/// Where vectors are compared.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Compare vectors exactly on a device: gpu or gpu:NUMBER (in a build with the feature gpu), or host, which answers simultaneous
    /// queries together. If the device is unavailable, the search runs on the CPU as without this option.
    #[arg(long, value_name = "DEVICE", env = "ADAM_SEARCH_DEVICE", value_parser = values::device())]
    search_device: Option<Device>,
}

impl DeviceArgs {
    /// Opens an index, with its device if one was named.
    pub(crate) fn builder(&self, index: &Path) -> EngineBuilder {
        let builder = Engine::builder(index);
        let Some(device) = &self.search_device else { return builder };
        if let Some(why) = device.unavailable() {
            tell(&format!("adam: warning: {} is unavailable, so the search runs on the CPU: {why}", device.name()));
        }
        builder.device(device.clone())
    }
}

/// How the model computes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ComputeArgs {
    /// Numbers the model computes in: f32, int8 (about twice as fast on a CPU, not for CUDA), or f16 (for GPUs). Vectors of
    /// different numbers must not be mixed [default: as the index was made; f32 for a new one].
    #[arg(long, value_name = "NUMBERS", value_parser = values::precision())]
    precision: Option<Precision>,
    /// Longest text in tokens; what is longer is cut [default: as the index was made; for a new one as the model's folder says].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Text put before every query, if the model needs one and its folder does not say so; e.g. "query: " for E5.
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Text put before every document; e.g. "passage: " for E5.
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
    #[command(flatten)]
    pub(crate) running: RuntimeArgs,
}

impl ComputeArgs {
    /// Opens a folder in sentence-transformers layout with ONNX, or a model by its Hugging Face id.
    pub(crate) fn open(&self, model: &Path) -> Result<(Arc<SentenceEncoder>, PinnedModel)> {
        let folder: PathBuf = Hub::from_environment().resolve(model)?;
        let precision = self.precision.unwrap_or_default();
        let options = self
            .running
            .options()
            .precision(precision)
            .max_length(self.max_length)
            .query_prompt(self.query_prompt.clone())
            .document_prompt(self.document_prompt.clone());
        let encoder = SentenceEncoder::open(&folder, &options)?;
        let pinned = PinnedModel::of_folder(&encoder, &folder, precision, self.max_length);
        Ok((Arc::new(encoder), pinned))
    }

    /// Whether an option was given that changes the vectors.
    pub(crate) fn is_set(&self) -> bool {
        self.precision.is_some()
            || self.max_length.is_some()
            || self.query_prompt.is_some()
            || self.document_prompt.is_some()
    }

    /// Refuses what was asked for and is not so: of an index that is there, its manifest decides how the model computes.
    pub(crate) fn check(&self, engine: &Engine, encoder: &SentenceEncoder) -> Result<()> {
        self.check_pinned(engine.path(), &engine.manifest().model, encoder)
    }

    /// As [`check`](Self::check), by the model that the index's manifest names.
    pub(crate) fn check_pinned(&self, index: &Path, pinned: &PinnedModel, encoder: &SentenceEncoder) -> Result<()> {
        let prompt = |kind| encoder.prompt(kind).to_owned();
        let options = [
            ("precision", self.precision.map(|asked| asked.to_string()), pinned.precision.to_string()),
            ("max-length", self.max_length.map(|asked| asked.to_string()), encoder.max_length().to_string()),
            ("query-prompt", self.query_prompt.clone(), prompt(TextKind::Query)),
            ("document-prompt", self.document_prompt.clone(), prompt(TextKind::Document)),
        ];
        for (option, asked, there) in options {
            if let Some(asked) = asked.filter(|asked| *asked != there) {
                bail!(
                    "--{option} {asked:?}: the index {} was made with {there:?}; leave the option out, or make another index with `adam reembed`",
                    index.display()
                );
            }
        }
        Ok(())
    }
}

/// Whether long documents are split into chunks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChunkArgs {
    /// Split long documents into chunks of at most N tokens, each with a vector; a document is as near to a query as its
    /// nearest chunk [default: one vector a document, of as much as the model reads].
    #[arg(long, value_name = "N")]
    chunk_tokens: Option<usize>,
    /// Tokens at the end of a chunk that the next begins with again [default: an eighth of a chunk].
    #[arg(long, value_name = "N")]
    chunk_overlap: Option<usize>,
}

impl ChunkArgs {
    /// What was asked for, if the model can read chunks that long.
    pub(crate) fn chunking(&self, encoder: &SentenceEncoder) -> Result<Option<Chunking>> {
        let Some(tokens) = self.chunk_tokens else {
            // Not clap's to check, which does not see the two together where one is from the environment or a file.
            if let Some(overlap) = self.chunk_overlap {
                bail!(WrongCall(format!(
                    "--chunk-overlap {overlap} is for chunks, and there are none without --chunk-tokens; give both or neither"
                )));
            }
            return Ok(None);
        };
        let most = encoder.room(TextKind::Document);
        if tokens > most {
            bail!(
                "--chunk-tokens {tokens}: the model reads {most} tokens of a text, so the end of every chunk would be lost"
            );
        }
        let mut chunking = Chunking::new(tokens);
        chunking.overlap = self.chunk_overlap.unwrap_or(chunking.overlap);
        Ok(Some(chunking))
    }
}

/// Whether a cross-encoder looks at the best hits again.
#[derive(Clone, Debug, Args)]
pub(crate) struct RerankArgs {
    /// Let a cross-encoder put the best hits in a new order: its folder in Hugging Face layout with ONNX, or its Hugging
    /// Face id. It reads query and document together, which is better and far slower: of long documents the nearest chunk
    /// if the index has chunks and the search is not lexical, else the start.
    #[arg(long, value_name = "MODEL")]
    rerank: Option<PathBuf>,
    /// How many of the best hits it looks at; the others keep their order behind them.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rerank_top: u16,
}

impl RerankArgs {
    /// Opens the re-ranker, if one was named.
    pub(crate) fn open(&self, running: &RuntimeArgs) -> Result<Option<Arc<Reranker>>> {
        let Some(model) = &self.rerank else { return Ok(None) };
        Ok(Some(Arc::new(Reranker::open(model, &running.options())?)))
    }

    pub(crate) fn depth(&self) -> Option<usize> {
        self.rerank.as_ref().map(|_| usize::from(self.rerank_top))
    }
}
