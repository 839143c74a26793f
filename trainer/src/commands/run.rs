//! `adam-train run` and each stage alone: reads the configuration, runs what is missing, ends with the verdict.

use crate::commands::check::{CheckInput, CheckReport, ModelSize, StagePlan, check as look};
use crate::config::{Config, TrainingConfig, UNLABELLED};
use crate::data::batches::BatchLimits;
use crate::data::{Format, format_of};
use crate::error::TrainError;
use crate::export::source::Reading;
use crate::model::ModelTokenizer;
use crate::report::Reporter;
use crate::stages::{Pipeline, RunLock, Stage};
use crate::torch::{DeviceChoice, Machine, MemorySize};
use clap::Args;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use tch::Kind;

/// What every stage takes.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The configuration, in TOML. Without one every setting has its default but what this call says.
    #[arg(value_name = "FILE.toml")]
    pub configuration: Option<PathBuf>,
    /// Training data instead of `data.path`: a BEIR folder or zip, or a file of another format (see `data.format`).
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Folder of the run instead of `run.output`; the student ends in DIR/student.
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Model to start from instead of `student.model`: a folder with config.json, model.safetensors, tokenizer.json, or a
    /// Hugging Face id, which is looked for in the cache and downloaded otherwise.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Where to compute instead of `run.device`.
    #[arg(long, value_enum, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Most memory a training step may take instead of `run.memory_limit`, such as 8GB; larger steps are computed in parts.
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<MemorySize>,
    /// Go on with a teacher that ranks the held-out queries no better than its student, instead of refusing it.
    #[arg(long)]
    pub accept_weak_teacher: bool,
    /// One setting over the file's, such as --set distil.epochs=2. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// The model to start from and the run's folder, where no configuration file is named and the command line says nothing.
const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const DEFAULT_OUTPUT: &str = "adam-run";

impl RunArgs {
    /// The configuration with what the command line says put over it.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read(&self) -> Result<Config, TrainError> {
        let mut config = self.read_unchecked()?;
        if self.configuration.is_none() {
            // A first run should need no more than the data.
            if config.student.model.as_os_str().is_empty() {
                config.student.model = DEFAULT_MODEL.into();
            }
            if config.run.output.as_os_str().is_empty() {
                config.run.output = DEFAULT_OUTPUT.into();
            }
        }
        config.check()?;
        config.find_models()?;
        Ok(config)
    }

    /// As [`RunArgs::read`], with nothing checked beyond keys and kinds.
    fn read_unchecked(&self) -> Result<Config, TrainError> {
        let mut settings = self.settings.clone();
        let mut name = |key: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                let text = toml::Value::String(path.display().to_string());
                settings.push(format!("{key}={text}"));
            }
        };
        name("data.path", &self.data);
        name("run.output", &self.work);
        name("student.model", &self.model);
        let mut config = match &self.configuration {
            Some(path) => Config::read_unchecked(path, &settings)?,
            None => without_file(&settings)?,
        };
        if let Some(device) = self.device {
            config.run.device = device;
        }
        config.run.memory_limit = self.memory_limit.or(config.run.memory_limit);
        config.teacher.accept_weak |= self.accept_weak_teacher;
        Ok(config)
    }
}

/// The configuration where no file is named: the defaults, or those for passages alone where the data has nothing else.
fn without_file(settings: &[String]) -> Result<Config, TrainError> {
    let mut config = Config::parse("", settings)?;
    if config.data.path.exists() && format_of(&config.data).is_ok_and(|format| format == Format::Corpus) {
        config = Config::parse(UNLABELLED, settings)?;
    }
    Ok(config)
}

/// Runs every stage up to `last` that is not finished. Gives the last line of a run to its end: the verdict, or why there is none.
///
/// # Errors
/// As [`Pipeline::run`].
pub fn run(args: &RunArgs, last: Stage, reporter: &Reporter, stop: &AtomicBool) -> Result<Option<String>, TrainError> {
    let config = args.read()?;
    // Before the data is read, where there is a folder: that another run is at work there is better known at once.
    // Queries that are made before the first stage are written there.
    let alone = if config.queries.is_active() {
        Some(RunLock::take(&config.run.output)?)
    } else {
        RunLock::take_if_there(&config.run.output)?
    };
    let pipeline = Pipeline::open(&config, reporter, stop)?;
    let verdict = match alone {
        Some(alone) => pipeline.run_under(&alone, last)?,
        None => pipeline.run(last)?,
    };
    Ok((last == Stage::Eval).then(|| verdict.map_or_else(|| pipeline.without_verdict(), |verdict| verdict.line())))
}

/// Says what a run would meet, without training. The text, or JSON.
///
/// # Errors
/// Settings or data that cannot be used.
pub fn check(args: &RunArgs, json: bool) -> Result<String, TrainError> {
    let mut config = args.read_unchecked()?;
    let has_model = !config.student.model.as_os_str().is_empty();
    if !has_model {
        // Enough to look at data: rows are counted, and what depends on a model is left out.
        config.student.model = "none".into();
    }
    if config.run.output.as_os_str().is_empty() {
        config.run.output = "none".into();
    }
    config.check()?;
    if !has_model {
        return data_alone(&config, json);
    }
    config.find_models()?;
    let tokens = ModelTokenizer::open(&config.student.model)?;
    let teacher = &config.teacher;
    let dark = config.dark.reinforced + config.dark.noisy;
    // Where the device is not at hand, what a run would meet is said for the CPU.
    let run = &config.run;
    let machine = Machine::choose(run.device, run.precision, run.packing, run.threads).unwrap_or(Machine::CPU);
    let size = ModelSize::of_folder(&config.student.model, &config.student.layers)?;
    let plan = |name: &str, training: &TrainingConfig, passages: usize| StagePlan {
        name: name.to_owned(),
        epochs: training.epochs as f64,
        queries: training.queries_per_step,
        passages,
        pair_cap: None,
        most_tokens: training.most_tokens(machine),
        micro_tokens: training.micro_tokens(machine),
        model: Some(size),
    };
    let mut stages = Vec::new();
    if config.warm_up.training.epochs > 0 {
        stages.push(plan("warm-up", &config.warm_up.training, 1 + config.warm_up.negatives));
    }
    if teacher.is_trained_here() {
        let base = teacher.model.as_deref().unwrap_or(&config.student.model);
        stages.push(StagePlan {
            pair_cap: Some(teacher.length),
            model: Some(ModelSize::of_folder(base, &[])?),
            ..plan("teacher", &teacher.training, 1 + teacher.negatives)
        });
    }
    stages.push(plan("distil", &config.distil, 1 + config.candidates.negatives + dark));
    let token_folder = config.run.output.join("tokens");
    let Reading { query_prompt, document_prompt, longest, .. } = Reading::of(&config.student.model)?;
    let prompts = (
        config.student.query_prompt.clone().unwrap_or(query_prompt),
        config.student.document_prompt.clone().unwrap_or(document_prompt),
    );
    let mut report = look(&CheckInput {
        data: &config.data,
        tokenizer: Some(tokens.tokenizer()),
        token_folder: token_folder.is_dir().then_some(token_folder.as_path()),
        prompts: (&prompts.0, &prompts.1),
        query_cap: config.student.query_length,
        passage_cap: config.student.passage_length.min(longest),
        longest,
        model: Some(size),
        activation_bytes: if machine.compute == Kind::BFloat16 { 2 } else { 4 },
        batches: BatchLimits {
            max_tokens: config.distil.micro_tokens(machine),
            max_texts: 4096,
            max_padding: config.distil.max_padding,
        },
        stages,
    })?;
    // Opening a pipeline makes what a smaller student starts from, which a run that is at work reads.
    let alone = match RunLock::take_if_there(&config.run.output) {
        Err(TrainError::Busy(_)) => {
            report.notes.push("a run is at work in the folder; its scores were not counted".to_owned());
            None
        }
        taken => taken?,
    };
    // With made queries the pairs are not known before these are made.
    if alone.is_some() && !config.queries.is_active() {
        let (reporter, stop) = (Reporter::silent(), AtomicBool::new(false));
        report.cache = Pipeline::open(&config, &reporter, &stop)?.known_scores()?;
        if report.cache.is_none() {
            report.notes.push("no teacher scores are cached for these settings".to_owned());
        }
    }
    written(&report, json)
}

/// What is in the data, where there is no model to count tokens and steps with.
fn data_alone(config: &Config, json: bool) -> Result<String, TrainError> {
    let mut report = look(&CheckInput {
        data: &config.data,
        tokenizer: None,
        token_folder: None,
        prompts: ("", ""),
        query_cap: config.student.query_length,
        passage_cap: config.student.passage_length,
        longest: config.student.passage_length,
        model: None,
        activation_bytes: 4,
        batches: BatchLimits::default(),
        stages: Vec::new(),
    })?;
    report.notes.push("no model is named (--model): tokens and steps are not counted".to_owned());
    written(&report, json)
}

fn written(report: &CheckReport, json: bool) -> Result<String, TrainError> {
    if json {
        return serde_json::to_string_pretty(report).map_err(|e| TrainError::internal(e.to_string()));
    }
    Ok(report.to_text())
}
