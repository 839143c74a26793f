//! `adam-train export`: a model folder becomes a folder that every consumer loads.

use std::path::PathBuf;

use clap::Args;

use crate::commands::run::RunArgs;
use crate::config::{find_model, is_name};
use crate::error::TrainError;
use crate::export::{ExportOptions, Exported, Kind, ModelCard, Pooling, export, is_export};
use crate::torch::DeviceChoice;

/// The call: a model folder to export, or a run whose student to export.
#[derive(Debug, Clone, Args)]
pub struct ExportCommand {
    /// A run's configuration: exports that run's student, after whatever stage is missing before it. Without it, name
    /// --model and --output.
    #[arg(value_name = "FILE.toml", conflicts_with_all = ["output", "kind", "max_length", "pooling", "query_prompt",
        "document_prompt", "no_int8", "no_fp16", "name", "licence", "if_missing"])]
    configuration: Option<PathBuf>,
    /// With a configuration: training data instead of `data.path`.
    #[arg(long, value_name = "PATH", requires = "configuration")]
    data: Option<PathBuf>,
    /// With a configuration: folder of the run instead of `run.output`.
    #[arg(long, value_name = "DIR", requires = "configuration")]
    work: Option<PathBuf>,
    /// With a configuration: one setting over the file's. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "configuration")]
    settings: Vec<String>,
    /// With a configuration: auto, cpu or cuda instead of `run.device`.
    #[arg(long, value_name = "DEVICE", requires = "configuration")]
    device: Option<DeviceChoice>,
    #[command(flatten)]
    model: ExportArgs,
}

/// What an export command asks for.
#[derive(Debug, Clone)]
pub enum ExportTarget {
    /// The student of a run.
    Run(RunArgs),
    /// A model folder.
    Folder(Box<ExportArgs>),
}

impl ExportCommand {
    /// A run's student where a configuration is named, else a folder.
    pub fn target(self) -> ExportTarget {
        match self.configuration {
            Some(configuration) => ExportTarget::Run(RunArgs {
                configuration: Some(configuration),
                data: self.data,
                work: self.work,
                model: self.model.model,
                device: self.device,
                memory_limit: None,
                accept_weak_teacher: false,
                settings: self.settings,
            }),
            None => ExportTarget::Folder(Box::new(self.model)),
        }
    }
}

/// Write a model as ONNX, in a folder that sentence-transformers, text-embeddings-inference, fastembed, Vespa,
/// OpenSearch and `adam` load.
///
/// Every f32 file is run and compared with the trainer's own forward pass; above a difference of 1e-4 nothing is
/// written. The f16 file is left out above a difference of 1e-2. Int8 files are compared and the result is reported.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Folder with config.json, model.safetensors and tokenizer.json, or a Hugging Face id; with a configuration, instead of
    /// `student.model`.
    #[arg(long, value_name = "MODEL", required_unless_present = "configuration")]
    pub model: Option<PathBuf>,
    /// Folder to write; replaced if an export wrote it, else refused if it exists.
    #[arg(long, value_name = "DIR", required_unless_present = "configuration")]
    pub output: Option<PathBuf>,
    /// Do nothing where an export is at the output already.
    #[arg(long)]
    pub if_missing: bool,
    /// What the model is.
    #[arg(long, value_enum, default_value_t = Kind::Sentence)]
    pub kind: Kind,
    /// Longest text in tokens [default: as the model's folder says].
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// How token vectors become one [default: as the model's folder says].
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Text to put before every query [default: as the model's folder says].
    #[arg(long, value_name = "TEXT")]
    pub query_prompt: Option<String>,
    /// Text to put before every document [default: as the model's folder says].
    #[arg(long, value_name = "TEXT")]
    pub document_prompt: Option<String>,
    /// Leave the int8 files out.
    #[arg(long)]
    pub no_int8: bool,
    /// Leave the f16 file, which is for GPUs, out.
    #[arg(long)]
    pub no_fp16: bool,
    /// The model's title on its card [default: the output folder's name].
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Licence for the card, as an SPDX id [default: as the model's README says].
    #[arg(long, value_name = "ID")]
    pub licence: Option<String>,
}

/// Runs the command. Gives what to print: a line a file.
///
/// # Errors
/// As [`export`].
pub fn run(args: &ExportArgs) -> Result<String, TrainError> {
    let (Some(model), Some(output)) = (&args.model, &args.output) else {
        return Err(TrainError::config("`export` needs --model and --output, or a run's configuration"));
    };
    if args.if_missing && is_export(output) {
        return Ok(format!("{}: is there already\n", output.display()));
    }
    let found = if is_name(model) { find_model(model, true)? } else { model.clone() };
    let options = ExportOptions {
        kind: args.kind,
        max_length: args.max_length,
        int8: !args.no_int8,
        f16: !args.no_fp16,
        pooling: args.pooling,
        query_prompt: args.query_prompt.clone(),
        document_prompt: args.document_prompt.clone(),
        card: ModelCard { name: args.name.clone(), licence: args.licence.clone(), ..ModelCard::default() },
        ..ExportOptions::new(found, output)
    };
    Ok(describe(&export(&options)?))
}

fn describe(exported: &Exported) -> String {
    let mut text = format!(
        "{}: {} values a vector, at most {} tokens\n",
        exported.folder.display(),
        exported.dimension,
        exported.max_length
    );
    for file in &exported.files {
        let parity = file.parity.as_ref().map_or_else(String::new, |parity| format!(", {parity}"));
        text.push_str(&format!("  {:<33}{:6.1} MB{parity}\n", file.name, file.bytes as f64 / 1e6));
    }
    for (name, why) in &exported.left_out {
        text.push_str(&format!("  {name:<33}left out: {why}\n"));
    }
    text
}
