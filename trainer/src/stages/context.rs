//! What all stages share: configuration, data, token ids, machine, and the run's folder with its stamps.

use crate::adam::candidates::Candidate;
use crate::config::{Config, StudentConfig, VoiceKind, Window};
use crate::data::tokens::{Origin, TokenStore, load_or_tokenize, tokenize, tokenizer_hash};
use crate::data::{Origin as QueryOrigin, TrainQuery, TrainingData};
use crate::error::TrainError;
use crate::export::source::Reading;
use crate::files::{hex, write_whole};
use crate::model::{ModelTokenizer, Student, fingerprint, start_from};
use crate::report::Reporter;
use crate::torch::Machine;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The texts of the data as one model's token ids.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) tokens: ModelTokenizer,
    pub(crate) hash: [u8; 32],
    /// Training queries, then held-out ones.
    pub(crate) queries: TokenStore,
    pub(crate) passages: TokenStore,
    /// For a query that was made of a passage: that passage without the part that became the query.
    pub(crate) edited: HashMap<usize, Vec<u32>>,
}

/// Most tokens of a passage that windows are cut out of.
const WHOLE_PASSAGE: u32 = 4096;
/// A longer prompt is cut to so many tokens.
pub(crate) const PROMPT_TOKENS: u32 = 1024;

/// What all stages share.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) data: TrainingData,
    /// Hash of the data's texts and judgements.
    pub(crate) data_key: String,
    /// The model that the student starts from.
    pub(crate) start: PathBuf,
    pub(crate) machine: Machine,
    pub(crate) reporter: &'a Reporter,
    pub(crate) stop: &'a AtomicBool,
    /// Texts in the student's tokens.
    pub(crate) texts: Arc<Texts>,
    /// Tokens of a passage that the student reads in training, beside its prompt and special tokens.
    pub(crate) passage_budget: usize,
    /// Most tokens that the teacher takes.
    pub(crate) teacher_longest: usize,
}

impl<'a> Context<'a> {
    /// Loads data and tokenises it for the student.
    pub(crate) fn load(config: &'a Config, reporter: &'a Reporter, stop: &'a AtomicBool) -> Result<Self, TrainError> {
        config.check()?;
        let run = &config.run;
        let machine = Machine::choose(run.device, run.precision, run.packing, run.threads)?;
        reporter.say(&format!("data: {}", config.data.path.display()));
        let data = crate::data::load(&config.data)?;
        reporter.say(&format!(
            "data: {} training queries, {} held out, {} passages, {} rows dropped",
            data.queries.len(),
            data.dev.len(),
            data.passages.len(),
            data.rows_dropped
        ));
        for remark in data.remarks() {
            reporter.say(&match remark.strip_prefix("warning: ") {
                Some(warning) => format!("warning: data: {warning}"),
                None => format!("data: {remark}"),
            });
        }
        let data_key = hash_of_data(&data);
        let texts = Arc::new(tokenise(config, &data, &config.student.model, reporter)?);
        let start = start_model(config)?;
        let reading = Reading::of(&start)?;
        let prompt = config.student.document_prompt.as_ref().unwrap_or(&reading.document_prompt);
        let prompt = tokenize(texts.tokens.tokenizer(), 1, &|_| prompt.into(), PROMPT_TOKENS)?.length(0);
        let bound = config.student.passage_length.min(reading.longest);
        let passage_budget = bound.saturating_sub(prompt + texts.tokens.overhead());
        // One in ONNX may be of any architecture; it cuts its texts itself.
        let of_teacher = config.teacher.model.as_ref().unwrap_or(&config.student.model);
        let teacher_longest = Reading::of(of_teacher).map_or(usize::MAX, |reading| reading.longest);
        let of_rows = config.teacher.voices.iter().any(|voice| voice.kind == VoiceKind::Rows);
        if !of_rows && data.queries.iter().any(|query| query.scores.is_some()) {
            reporter.say(
                "data: the scores that come with it are not used; add the voice `rows` to teach by them \
                 (teacher.voices = [{ kind = \"rows\" }])",
            );
        }
        let mut context =
            Self { config, data, data_key, start, machine, reporter, stop, texts, passage_budget, teacher_longest };
        if config.queries.is_active() {
            super::queries::extend(&mut context)?;
            if context.data.queries.is_empty() {
                return Err(TrainError::data(
                    &config.data.path,
                    "no training query could be made of it: its passages have no titles and no sentences that find them",
                ));
            }
            context.data_key = hash_of_data(&context.data);
            context.texts = Arc::new(tokenise(config, &context.data, &config.student.model, reporter)?);
        } else if context.data.queries.is_empty() {
            return Err(TrainError::data(
                &config.data.path,
                "holds passages alone; set `queries.made` to make training queries of them, or name a query log (`queries.log`)",
            ));
        }
        Ok(context)
    }

    /// Hash of the model that the student starts from.
    pub(crate) fn start_key(&self) -> Result<String, TrainError> {
        model_key(&self.start)
    }

    /// Texts in the tokens of another model; the student's where the tokenizers are equal.
    pub(crate) fn texts_for(&self, model: &Path) -> Result<Arc<Texts>, TrainError> {
        let tokens = ModelTokenizer::open(model)?;
        if tokenizer_hash(tokens.tokenizer())? == self.texts.hash {
            return Ok(Arc::clone(&self.texts));
        }
        Ok(Arc::new(tokenise(self.config, &self.data, model, self.reporter)?))
    }

    /// A query by its number: training queries first, then held-out ones.
    pub(crate) fn query(&self, number: usize) -> Option<&TrainQuery> {
        self.data.queries.get(number).or_else(|| self.data.dev.get(number.checked_sub(self.data.queries.len())?))
    }

    /// The text of a query by its number.
    pub(crate) fn query_text(&self, number: usize) -> &str {
        self.query(number).map(|query| query.text.as_str()).unwrap_or_default()
    }

    /// A folder or file of the run.
    pub(crate) fn shared_path(&self, name: &str) -> PathBuf {
        self.config.run.output.join(name)
    }

    /// A folder or file of what this run does not share with others of the same output.
    pub(crate) fn own_path(&self, name: &str) -> PathBuf {
        self.config.run.output.join(&self.config.run.branch).join(name)
    }

    /// The student of a folder, pooled as the configuration says.
    pub(crate) fn student(&self, folder: &Path) -> Result<Student, TrainError> {
        let config = &self.config.student;
        let mut student = Student::open(folder, self.machine)?;
        student.pooling = config.pooling.unwrap_or(student.pooling);
        student.normalised = config.normalised.unwrap_or(student.normalised);
        for (given, prompt) in [
            (&config.query_prompt, &mut student.prompts.query),
            (&config.document_prompt, &mut student.prompts.document),
        ] {
            if let Some(given) = given {
                prompt.clone_from(given);
            }
        }
        if let Some(&largest) = config.matryoshka.last()
            && largest >= student.encoder.hidden()
        {
            return Err(TrainError::config(format!(
                "[student] `matryoshka` names {largest} values, and the model's vectors have {}",
                student.encoder.hidden()
            )));
        }
        Ok(student)
    }

    /// Mined candidates of training queries, then of held-out ones; queries that came with negatives of their own have those too.
    pub(crate) fn pools(&self, mine_folder: &Path) -> Result<Vec<Vec<Candidate>>, TrainError> {
        let mined = super::mine::read(&mine_folder.join("mined.jsonl"), &self.data.passages)?;
        let count = self.data.queries.len() + self.data.dev.len();
        if mined.len() != count {
            return Err(TrainError::data(
                mine_folder,
                format!("holds candidates of {} queries, and the data has {count}", mined.len()),
            ));
        }
        let of_rows = self.config.teacher.voices.iter().any(|voice| voice.kind == VoiceKind::Rows);
        Ok(mined
            .iter()
            .enumerate()
            .map(|(number, mined)| {
                let given = self.query(number).map(|q| q.negatives.as_slice()).unwrap_or_default();
                // Scores that rows carry are of their own passages alone.
                let mined = if of_rows { &[][..] } else { &mined.candidates[..] };
                let found = mined.iter().map(|c| c.passage);
                let mut seen = std::collections::HashSet::new();
                given
                    .iter()
                    .copied()
                    .chain(found)
                    .filter(|&passage| seen.insert(passage))
                    .enumerate()
                    .map(|(rank, passage)| Candidate { passage, rank: rank + 1, teacher: None })
                    .collect()
            })
            .collect())
    }
}

fn tokenise(config: &Config, data: &TrainingData, model: &Path, reporter: &Reporter) -> Result<Texts, TrainError> {
    let tokens = ModelTokenizer::open(model)?;
    let folder = config.run.output.join("tokens");
    let cap = config.student.passage_length.max(config.teacher.length) as u32;
    // Windows are cut out of whole passages.
    let cap = if config.student.passage_window == Window::Random { cap.max(WHOLE_PASSAGE) } else { cap };
    let query_cap = config.student.query_length.max(config.teacher.query_length) as u32;
    let train = data.queries.len();
    let query = |i: usize| -> Cow<'_, str> {
        let found = data.queries.get(i).or_else(|| data.dev.get(i - train));
        Cow::Borrowed(found.map(|q| q.text.as_str()).unwrap_or_default())
    };
    let passage = |i: usize| -> Cow<'_, str> { Cow::Owned(data.passages.full_text(i as u32).unwrap_or_default()) };
    let tokenizer = tokens.tokenizer();
    let (queries, _) = load_or_tokenize(&folder, tokenizer, train + data.dev.len(), &query, query_cap, &mut |_| ())?;
    let mut bar = reporter.bar("tokens", data.passages.len(), 0);
    let (passages, origin) =
        load_or_tokenize(&folder, tokenizer, data.passages.len(), &passage, cap, &mut |done| bar.set(done))?;
    drop(bar);
    if origin != Origin::Cached {
        reporter.say(&format!("tokens: {} of passages, {} of queries", passages.total(), queries.total()));
    }
    let edits: Vec<(usize, &str)> =
        data.queries.iter().enumerate().filter_map(|(at, query)| Some((at, query.edited.as_deref()?))).collect();
    let store = tokenize(tokenizer, edits.len(), &|at| edits[at].1.into(), cap)?;
    let edited = edits.iter().enumerate().map(|(at, (query, _))| (*query, store.get(at).to_vec())).collect();
    Ok(Texts { hash: tokenizer_hash(tokenizer)?, tokens, queries, passages, edited })
}

/// The folder that the student starts from: the one the configuration names, or one made of it where the student shall be smaller.
fn start_model(config: &Config) -> Result<PathBuf, TrainError> {
    let StudentConfig { model, layers, max_length, .. } = &config.student;
    if layers.is_empty() && max_length.is_none() {
        return Ok(model.clone());
    }
    let folder = config.run.output.join("start");
    let key = key_of(&[&model_key(model)?, layers, max_length]);
    if finished(&folder, &key).is_none() {
        let began = Instant::now();
        // What another choice of layers left there must not mix with this one.
        if folder.is_dir() {
            std::fs::remove_dir_all(&folder).map_err(|e| TrainError::io(&folder, e))?;
        }
        start_from(model, layers, *max_length, &folder)?;
        stamp(&folder, &key, began.elapsed().as_secs_f64(), &(), None)?;
    }
    Ok(folder)
}

fn hash_of_data(data: &TrainingData) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for i in 0..data.passages.len() {
        part(data.passages.ids[i].as_bytes());
        part(data.passages.titles[i].as_bytes());
        part(data.passages.texts[i].as_bytes());
    }
    for (sort, queries) in [(0u8, &data.queries), (1, &data.dev)] {
        for query in queries {
            part(&[sort]);
            part(query.id.as_bytes());
            part(query.text.as_bytes());
            for list in [&query.positives, &query.negatives] {
                part(&list.iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<_>>());
            }
            if query.origin != QueryOrigin::Labelled {
                part(&[query.origin as u8]);
                part(query.edited.as_deref().unwrap_or_default().as_bytes());
            }
            if let Some(scores) = &query.scores {
                part(&scores.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>());
            }
        }
    }
    hex(&hash.finalize())
}

/// What a finished stage leaves behind: the key of everything it depended on, and what it measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Format of stamps.
    pub format: u32,
    /// Hash of the settings and inputs of the stage.
    pub key: String,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// What the stage says about its outcome.
    pub outcome: serde_json::Value,
    /// Hash of what it made, where later stages read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

const FORMAT: u32 = 1;

/// A hash over settings and the keys of earlier stages.
pub(crate) fn key_of(parts: &[&dyn KeyPart]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let text = part.text();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(&hash.finalize()[..16])
}

/// Anything that can be part of a key.
pub(crate) trait KeyPart {
    fn text(&self) -> String;
}

impl<T: Serialize> KeyPart for T {
    fn text(&self) -> String {
        // Settings are plain data; what could not be written would at worst make a key that fits nothing.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The stamp of a stage's folder when it is finished and of this key.
pub(crate) fn finished(folder: &Path, key: &str) -> Option<Stamp> {
    let text = std::fs::read(folder.join("stamp.json")).ok()?;
    let stamp: Stamp = serde_json::from_slice(&text).ok()?;
    (stamp.format == FORMAT && stamp.key == key).then_some(stamp)
}

/// Puts the stamp on a finished stage.
pub(crate) fn stamp(
    folder: &Path,
    key: &str,
    seconds: f64,
    outcome: &impl Serialize,
    product: Option<String>,
) -> Result<Stamp, TrainError> {
    let stamp = Stamp {
        product,
        format: FORMAT,
        key: key.to_owned(),
        seconds,
        outcome: serde_json::to_value(outcome).map_err(|e| TrainError::internal(e.to_string()))?,
    };
    let text = serde_json::to_vec_pretty(&stamp).map_err(|e| TrainError::internal(e.to_string()))?;
    write_whole(&folder.join("stamp.json"), &text)?;
    Ok(stamp)
}

/// Takes the stamp off a stage, so that it is done again.
pub(crate) fn remove_stamp(folder: &Path) -> Result<(), TrainError> {
    let path = folder.join("stamp.json");
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(TrainError::io(&path, e)),
        _ => Ok(()),
    }
}

/// The fingerprint of a model folder, as a part of keys.
pub(crate) fn model_key(folder: &Path) -> Result<String, TrainError> {
    fingerprint(folder)
}
