//! The configuration file: TOML, every key optional but the paths, unknown keys refused.
//!
//! Paths are relative to the file's own folder, so that a configuration can be moved together with what it names.

mod mine;
mod queries;
mod student;
mod teacher;

use crate::adam::candidates::CandidateConfig;
use crate::adam::dark::{DarkConfig, SpecialTokens};
use crate::adam::loss::{ListScope, LossConfig};
use crate::adam::pacing::PacingConfig;
use crate::data::DataConfig;
use crate::error::TrainError;
use crate::torch::{AdamWConfig, DeviceChoice, Machine, MemorySize, PackingChoice, PrecisionChoice};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use mine::{MineConfig, MineOrder};
pub use queries::QueriesConfig;
pub use student::{StudentConfig, Towers, Window};
pub(crate) use teacher::START;
pub use teacher::{TeacherConfig, TeacherKind, VoiceConfig, VoiceKind};

/// Every setting with its default and what it is, as a configuration file; those without a default behind a `#`.
pub const DEFAULTS: &str = include_str!("config/defaults.toml");

/// The settings of a run over passages alone, where no configuration file is named.
pub const UNLABELLED: &str = include_str!("config/unlabelled.toml");

/// A larger file is no configuration.
const FILE_LIMIT: u64 = 1 << 20;

/// Everything a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where products go, seed, machine.
    pub run: RunConfig,
    /// Training data.
    pub data: DataConfig,
    /// Training queries beside the labelled ones.
    pub queries: QueriesConfig,
    /// The student.
    pub student: StudentConfig,
    /// Contrastive training before mining.
    pub warm_up: WarmUpConfig,
    /// Mining of candidates.
    pub mine: MineConfig,
    /// The teacher.
    pub teacher: TeacherConfig,
    /// Which mined passages a step sees.
    pub candidates: CandidateConfig,
    /// Dark examples.
    pub dark: DarkConfig,
    /// Self-paced selection.
    pub pacing: PacingConfig,
    /// Losses of distillation.
    pub loss: LossConfig,
    /// Distillation.
    pub distil: TrainingConfig,
    /// Further rounds of distillation.
    pub rounds: RoundsConfig,
    /// Evaluation while training, on held-out queries.
    pub dev: DevConfig,
    /// Evaluation before and after, on whole passages.
    pub eval: EvalConfig,
}

/// Where products go, seed, machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The run's folder.
    pub output: PathBuf,
    /// The seed of every random choice.
    pub seed: u64,
    /// CPU threads; 0 is one for each core.
    pub threads: usize,
    /// CPU or CUDA.
    pub device: DeviceChoice,
    /// f32 or bf16.
    pub precision: PrecisionChoice,
    /// Whether texts of a batch are padded to one length or lie one after the other.
    pub packing: PackingChoice,
    /// The most memory a training step may take, by estimate, as `8GB`: a step that would take more is computed in smaller parts.
    /// Absent: what the device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemorySize>,
    /// Minutes between checkpoints of a training loop.
    pub checkpoint_minutes: f64,
    /// The seed of what distillation draws: order, candidates, dark examples, pacing. Absent: `seed`. Runs in one folder that
    /// differ in it share mining and teacher.
    pub distil_seed: Option<u64>,
    /// Folder below `output` of what is not shared with other runs of the same output; the grid sets it, no file does.
    #[serde(skip)]
    pub branch: PathBuf,
}

impl RunConfig {
    /// The seed of what distillation draws.
    pub fn distil_seed(&self) -> u64 {
        self.distil_seed.unwrap_or(self.seed)
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            output: PathBuf::new(),
            seed: 1,
            threads: 0,
            device: DeviceChoice::Auto,
            precision: PrecisionChoice::Auto,
            packing: PackingChoice::Auto,
            memory_limit: None,
            checkpoint_minutes: 5.0,
            distil_seed: None,
            branch: PathBuf::new(),
        }
    }
}

/// Any training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the training queries; 0 leaves the loop out.
    pub epochs: usize,
    /// Queries of an optimiser step.
    pub queries_per_step: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Share of the steps over which the rate rises from 0; it then falls in a straight line to 0.
    pub warm_up: f64,
    /// Probability that an activation is dropped.
    pub dropout: f64,
    /// AdamW.
    pub adamw: AdamWConfig,
    /// Most tokens, padding included, that go through the model together; 0: 4,096 on the CPU, 131,072 on a GPU. Halved by itself
    /// where memory does not suffice.
    pub micro_tokens: usize,
    /// A step with more tokens than this is computed in two passes (vectors first, then gradients part by part), which takes a third
    /// more time and bounded memory. The gradients are the same. 0: 32,768 on the CPU, 131,072 on a GPU.
    pub most_tokens: usize,
    /// Largest share of padding in what goes through the model together.
    pub max_padding: f64,
    /// Evaluations on the development queries per epoch, besides the one before the first step.
    pub evaluations: usize,
    /// Ends the loop after so many evaluations without a better one; 0: never.
    #[serde(skip_serializing_if = "is_zero")]
    pub patience: usize,
    /// The weights of this last share of the steps are averaged, and compete with the best step; 0: no average.
    #[serde(skip_serializing_if = "is_none_of_it")]
    pub average: f64,
    /// Whether mixtures of the outcome with the weights before the first step compete too.
    #[serde(skip_serializing_if = "is_off")]
    pub mix_start: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
fn is_none_of_it(share: &f64) -> bool {
    *share == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // what serde asks for
fn is_off(flag: &bool) -> bool {
    !*flag
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            queries_per_step: 16,
            learning_rate: 2e-5,
            warm_up: 0.1,
            dropout: 0.0,
            adamw: AdamWConfig::default(),
            micro_tokens: 0,
            most_tokens: 0,
            max_padding: 0.05,
            evaluations: 1,
            patience: 0,
            average: 0.0,
            mix_start: false,
        }
    }
}

impl TrainingConfig {
    /// Most tokens that go through the model together on a machine.
    pub fn micro_tokens(&self, machine: Machine) -> usize {
        match self.micro_tokens {
            // As many as a step of one pass may have, which are in memory together anyway. Beyond 65,536 rows libtorch takes a faster
            // kernel for the gradients of LayerNorm's weights, 6 % of a step otherwise (BERT-base on an H200).
            0 if machine.device.is_cuda() => 131_072,
            0 => 4096,
            given => given,
        }
    }

    /// The same where no gradients are wanted: nothing is gained by more, and a shortage is not answered by less.
    pub fn tokens_without_gradients(&self, machine: Machine) -> usize {
        match self.micro_tokens {
            0 if machine.device.is_cuda() => 32_768,
            _ => self.micro_tokens(machine),
        }
    }

    /// Most tokens of a step that is computed in one pass on a machine.
    pub fn most_tokens(&self, machine: Machine) -> usize {
        match self.most_tokens {
            0 if machine.device.is_cuda() => 131_072,
            0 => 32_768,
            given => given,
        }
    }

    fn problem(&self) -> Option<String> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Some(format!("`learning_rate` must be above 0, and is {}", self.learning_rate));
        }
        for (name, value) in [("warm_up", self.warm_up), ("max_padding", self.max_padding), ("average", self.average)] {
            if !(0.0..=1.0).contains(&value) {
                return Some(format!("`{name}` must lie in 0..=1, and is {value}"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Some(format!("`dropout` must lie in 0..1, and is {}", self.dropout));
        }
        for (name, value, least) in [
            ("queries_per_step", self.queries_per_step, 1),
            ("micro_tokens", self.micro_tokens, 0),
            ("most_tokens", self.most_tokens, 0),
            ("evaluations", self.evaluations, 0),
        ] {
            if !(least..=1 << 28).contains(&value) {
                return Some(format!("`{name}` must lie in {least}..=268435456, and is {value}"));
            }
        }
        let a = &self.adamw;
        let decays = [a.beta1, a.beta2].iter().all(|b| (0.0..1.0).contains(b));
        let rest = [a.epsilon, a.weight_decay, a.clip].iter().all(|x| x.is_finite() && *x >= 0.0);
        if !decays || !rest || a.epsilon == 0.0 {
            return Some(
                "`adamw` must have betas in 0..1, epsilon above 0, weight_decay and clip of 0 or more".to_owned(),
            );
        }
        (self.epochs > 10_000).then(|| format!("`epochs` may be 10000 at most, and is {}", self.epochs))
    }
}

/// Contrastive training of the student before mining: each query's positive against the other passages of the step and BM25's finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmUpConfig {
    /// The loop; `epochs = 0` leaves it out, which suits students that are retrievers already.
    pub training: TrainingConfig,
    /// Mined negatives a query.
    pub negatives: usize,
    /// Ranks they are drawn from.
    pub to_rank: usize,
    /// Who ranks them.
    pub mined_by: MinedBy,
    /// The similarity is multiplied by this before the softmax.
    pub scale: f64,
}

/// Who ranks the negatives of the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MinedBy {
    /// BM25 alone: for a student that is no retriever yet.
    #[default]
    Bm25,
    /// BM25 and the vectors of the start model, fused: harder negatives.
    Both,
}

impl Default for WarmUpConfig {
    fn default() -> Self {
        Self {
            training: TrainingConfig { epochs: 0, ..TrainingConfig::default() },
            negatives: 1,
            to_rank: 100,
            mined_by: MinedBy::Bm25,
            scale: 20.0,
        }
    }
}

/// Rounds of distillation: each but the first mines with the student of the one before, fuses the teacher anew and distils on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoundsConfig {
    /// How many there are.
    pub count: usize,
    /// Epochs of the later rounds; absent: as `distil.epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// The highest learning rate of the later rounds; absent: as `distil.learning_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl Default for RoundsConfig {
    fn default() -> Self {
        Self { count: 1, epochs: None, learning_rate: None }
    }
}

/// Most rounds: each mines the whole collection.
const MOST_ROUNDS: usize = 4;

/// Evaluation while training: held-out queries (`data.hold_out`) over their positives and best mined candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevConfig {
    /// Mined candidates a held-out query.
    pub candidates: usize,
    /// At most this many held-out queries take part.
    pub max_queries: usize,
    /// Whether the teacher is measured too: while it trains, and beside the student once it has scored.
    pub teacher: bool,
}

impl Default for DevConfig {
    fn default() -> Self {
        Self { candidates: 30, max_queries: 1000, teacher: true }
    }
}

/// Evaluation before and after, on whole passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Off: no baseline, no verdict.
    pub enabled: bool,
    /// A BEIR folder or zip; absent: `data.path` when that is one.
    pub collection: Option<PathBuf>,
    /// Its split of judgements.
    pub split: String,
    /// Documents ranked a query.
    pub depth: usize,
    /// Most tokens in one batch of the ONNX encoder; 0: as suits the device.
    pub batch_tokens: usize,
    /// Random sign patterns of the significance test.
    pub permutations: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            collection: None,
            split: "test".to_owned(),
            depth: 100,
            batch_tokens: 0,
            permutations: 10_000,
        }
    }
}

impl Config {
    /// Reads a file and puts `settings` (`key.key=value`, the value in TOML or a bare word) over what it says.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, holds a key that is not known, or settings do not go together.
    pub fn read(path: &Path, settings: &[String]) -> Result<Self, TrainError> {
        let config = Self::read_unchecked(path, settings)?;
        config.check()?;
        Ok(config)
    }

    /// As [`Config::read`], with nothing checked beyond keys and kinds.
    pub(crate) fn read_unchecked(path: &Path, settings: &[String]) -> Result<Self, TrainError> {
        let size = std::fs::metadata(path).map_err(|e| TrainError::io(path, e))?.len();
        if size > FILE_LIMIT {
            return Err(TrainError::config(format!(
                "{}: has {size} bytes, too many for a configuration",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|e| TrainError::io(path, e))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // Once alone, so that a fault of the file is told from one of the settings.
        Self::parse(&text, &[]).map_err(|e| match e {
            TrainError::Config(problem) => TrainError::config(format!("{}: {problem}", path.display())),
            other => other,
        })?;
        let mut config = Self::parse(&text, settings)?;
        config.resolve(folder, settings);
        Ok(config)
    }

    /// As [`Config::read`] for text, with paths as they stand and nothing checked beyond keys and kinds.
    ///
    /// # Errors
    /// When it is not TOML or holds a key that is not known.
    pub fn parse(text: &str, settings: &[String]) -> Result<Self, TrainError> {
        let fault = |e: toml::de::Error| TrainError::config(e.to_string().trim_end().to_owned());
        let mut table: toml::Table = toml::from_str(text).map_err(fault)?;
        for setting in settings {
            set(&mut table, setting)?;
        }
        table.try_into().map_err(fault)
    }

    /// Makes paths that came from the file relative to its folder; those set on the command line stay relative to where it runs.
    fn resolve(&mut self, folder: &Path, settings: &[String]) {
        let from_command = |key: &str| settings.iter().any(|s| s.split('=').next().map(str::trim) == Some(key));
        let place = |key: &str, path: &mut PathBuf| {
            let is_name = key.ends_with(".model") && !folder.join(&*path).exists() && is_name(path);
            if !path.as_os_str().is_empty() && path.is_relative() && !from_command(key) && !is_name {
                *path = folder.join(&path);
            }
        };
        place("run.output", &mut self.run.output);
        place("data.path", &mut self.data.path);
        place("student.model", &mut self.student.model);
        let optional = [
            ("data.queries", &mut self.data.queries),
            ("data.documents", &mut self.data.documents),
            ("teacher.model", &mut self.teacher.model),
            ("eval.collection", &mut self.eval.collection),
            ("queries.file", &mut self.queries.file),
            ("queries.log", &mut self.queries.log),
            ("queries.clicks", &mut self.queries.clicks),
        ];
        for (key, path) in optional {
            if let Some(path) = path {
                place(key, path);
            }
        }
        for voice in &mut self.teacher.voices {
            for path in [&mut voice.model, &mut voice.path].into_iter().flatten() {
                place("teacher.voices", path);
            }
        }
    }

    /// Puts the folders of models in the place of their names on the hub, downloading what is not in the cache.
    ///
    /// # Errors
    /// When a model is neither a folder nor to be had.
    pub fn find_models(&mut self) -> Result<(), TrainError> {
        let onnx = self.teacher.kind == TeacherKind::Onnx;
        let models = [(Some(&mut self.student.model), true), (self.teacher.model.as_mut(), !onnx)];
        for (model, weights) in models {
            if let Some(model) = model
                && is_name(model)
            {
                *model = find_model(model, weights)?;
            }
        }
        Ok(())
    }

    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// When one does not, by its section and key.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |section: &str, problem: Option<String>| match problem {
            Some(problem) => Err(TrainError::config(format!("[{section}] {problem}"))),
            None => Ok(()),
        };
        let missing = |path: &Path, what: &str| path.as_os_str().is_empty().then(|| format!("`{what}` is missing"));
        refuse("run", missing(&self.run.output, "output"))?;
        refuse("student", missing(&self.student.model, "model"))?;
        refuse("data", self.data.problem())?;
        refuse("queries", self.queries.problem())?;
        refuse("student", self.student.problem())?;
        refuse("mine", self.mine.problem())?;
        // Whether the tokenizer has a mask token is seen when it is read.
        refuse("dark", self.dark.problem(&SpecialTokens { mask: Some(0), ..SpecialTokens::default() }))?;
        for (section, name, value, most) in [
            ("warm_up", "negatives", self.warm_up.negatives, 4096),
            ("warm_up", "to_rank", self.warm_up.to_rank, 100_000),
            ("teacher", "negatives", self.teacher.negatives, 4096),
            ("teacher", "to_rank", self.teacher.to_rank, 100_000),
            ("dev", "candidates", self.dev.candidates, 100_000),
            ("eval", "depth", self.eval.depth, 1_000_000),
            ("eval", "batch_tokens", self.eval.batch_tokens, 1 << 28),
            ("eval", "permutations", self.eval.permutations, 1 << 28),
        ] {
            refuse(section, (value > most).then(|| format!("`{name}` may be {most} at most, and is {value}")))?;
        }
        refuse("candidates", self.candidates.problem())?;
        refuse("pacing", self.pacing.problem())?;
        refuse("loss", self.loss.problem())?;
        refuse("loss", self.problem_of_lists())?;
        refuse("warm_up.training", self.warm_up.training.problem())?;
        refuse("teacher.training", self.teacher.training.problem())?;
        refuse("distil", self.distil.problem())?;
        let count = self.rounds.count;
        refuse(
            "rounds",
            (!(1..=MOST_ROUNDS).contains(&count))
                .then(|| format!("`count` must lie in 1..={MOST_ROUNDS}, and is {count}")),
        )?;
        refuse("rounds", self.distil_of_round(1).problem())?;
        let length = |value: usize, what: &str| {
            (!(8..=65_536).contains(&value)).then(|| format!("`{what}` must lie in 8..=65536, and is {value}"))
        };
        refuse("student", length(self.student.query_length, "query_length"))?;
        refuse("student", length(self.student.passage_length, "passage_length"))?;
        refuse("teacher", length(self.teacher.length, "length"))?;
        refuse("teacher", length(self.teacher.query_length, "query_length"))?;
        refuse("teacher", self.teacher.problem())?;
        refuse(
            "run",
            (!(self.run.checkpoint_minutes.is_finite() && self.run.checkpoint_minutes > 0.0))
                .then(|| "`checkpoint_minutes` must be above 0".to_owned()),
        )?;
        refuse("run", (self.run.threads > 1024).then(|| "`threads` may be 1024 at most".to_owned()))?;
        refuse(
            "warm_up",
            (!(self.warm_up.scale.is_finite() && self.warm_up.scale > 0.0))
                .then(|| "`scale` must be above 0".to_owned()),
        )?;
        refuse("eval", (self.eval.depth < 10).then(|| "`depth` must be at least 10".to_owned()))
    }
}

impl Config {
    /// The loop of a round, counted from 0.
    pub fn distil_of_round(&self, round: usize) -> TrainingConfig {
        let mut training = self.distil.clone();
        if round > 0 {
            training.epochs = self.rounds.epochs.unwrap_or(training.epochs);
            training.learning_rate = self.rounds.learning_rate.unwrap_or(training.learning_rate);
        }
        training
    }

    /// Whether every passage of a step can be scored for every query of it, where that is asked for.
    fn problem_of_lists(&self) -> Option<String> {
        if self.loss.list != ListScope::Batch || self.loss.distillation == 0.0 {
            return None;
        }
        let costly = self.teacher.voices.iter().find(|voice| !voice.kind.is_cheap());
        match costly {
            Some(voice) => Some(format!(
                "`list = \"batch\"` scores every passage of a step for every query, which a voice of kind `{}` cannot do at no cost; \
                 use `list = \"own\"` or leave that voice out",
                voice.kind.name()
            )),
            None if self.teacher.voices.is_empty() => Some(
                "`list = \"batch\"` needs [[teacher.voices]] that cost nothing, of kind `bm25` and `dense`".to_owned(),
            ),
            None => None,
        }
    }
}

/// Whether a path is no folder here and could be a model's name on the hub, `organisation/model`.
pub(crate) fn is_name(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains('/') && !path.exists() && adam_encoder::ModelName::parse(&text).is_ok()
}

/// The folder of a model by its name.
pub(crate) fn find_model(model: &Path, weights: bool) -> Result<PathBuf, TrainError> {
    let hub = adam_encoder::Hub::from_environment();
    let hub = if weights { hub.for_training() } else { hub };
    Ok(hub.resolve(model)?)
}

/// Puts one `key.key=value` into a table.
fn set(table: &mut toml::Table, setting: &str) -> Result<(), TrainError> {
    let wrong = || TrainError::config(format!("`--set {setting}` must be KEY=VALUE, such as distil.epochs=2"));
    let (key, value) = setting.split_once('=').ok_or_else(wrong)?;
    let value = value.trim();
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let parts: Vec<&str> = key.split('.').map(str::trim).collect();
    let (last, path) = parts.split_last().ok_or_else(wrong)?;
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong());
    }
    let mut at = table;
    for part in path {
        at = at
            .entry((*part).to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(wrong)?;
    }
    at.insert((*last).to_owned(), parsed);
    Ok(())
}

#[cfg(test)]
mod tests;
