//! The whole run: stages in order, each with a key of what it depends on, so that only what changed is done again.
//!
//! ```text
//! warm-up ─► mine ─► teacher ─► score ─► distil ─► export ─► eval
//! ```
//! A finished stage leaves `stamp.json` in its folder; a stopped one leaves what it has, and goes on from there. Before the first
//! step the untouched student is exported and judged (`before/`), so that the verdict compares like with like.

use super::artifact::Artifact;
use super::changes::changes;
use super::context::{Context, finished, key_of, model_key, remove_stamp, stamp};
use super::dev::{HeldOut, HeldOutChange, written};
use super::encode::{corpus_vectors, encoder, trained_encoder};
use super::eval::{Measured, TestSet, Verdict};
use super::lock::RunLock;
use super::mine::{MineConfig, MineProgress, Surroundings, VectorTable, mine};
use super::next::next_command;
use super::round::Round;
use super::summary::write_report;
use super::training::BEFORE_TRAINING;
use super::{distil, score, teacher, voices, warm_up};
use crate::adam::fusion::Fusion;
use crate::config::{Config, EvalConfig, MinedBy, StudentConfig, TeacherConfig, TeacherKind};
use crate::data::Format;
use crate::error::TrainError;
use crate::export::{ExportOptions, MetricRow, ModelCard, add_hybrid_weight, add_results, export};
use crate::report::Reporter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A stage, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Contrastive training of the student, where the configuration asks for it.
    WarmUp,
    /// Candidates for every training query.
    Mine,
    /// Training of the cross-encoder.
    Teacher,
    /// The teacher's logits.
    Score,
    /// Distillation.
    Distil,
    /// The ONNX student.
    Export,
    /// The student against the model before training.
    Eval,
}

impl Stage {
    const ALL: [Self; 7] =
        [Self::WarmUp, Self::Mine, Self::Teacher, Self::Score, Self::Distil, Self::Export, Self::Eval];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Mine => "mine",
            Self::Teacher => "teacher",
            Self::Score => "score",
            Self::Distil => "distil",
            Self::Export => "export",
            Self::Eval => "eval",
        }
    }
}

/// What the baseline says: where its model lies and, if there is a test set, how good it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Baseline {
    measured: Option<Measured>,
}

/// A run over one configuration.
pub struct Pipeline<'a> {
    context: Context<'a>,
    test: Option<TestSet>,
    base_key: String,
    /// Hashes of the models that student and teacher start from, made once: the files may have gigabytes.
    student_key: String,
    teacher_model_key: String,
    /// Whether the student is exported with int8 files and a full card.
    whole_export: bool,
}

/// Folders of stages that runs over one output do not share.
const OWN: [&str; 4] = ["score", "distil", "export", "after"];

impl<'a> Pipeline<'a> {
    /// Loads data and tokens.
    ///
    /// # Errors
    /// Wrong settings, data that cannot be read, a model that is none.
    pub fn open(config: &'a Config, reporter: &'a Reporter, stop: &'a AtomicBool) -> Result<Self, TrainError> {
        // It makes the folder of the run once data and models are read: nothing is left of a run that could not begin.
        let context = Context::load(config, reporter, stop)?;
        std::fs::create_dir_all(&config.run.output).map_err(|e| TrainError::io(&config.run.output, e))?;
        teacher::check(&context)?;
        let test = TestSet::load(&context)?;
        let student_key = model_key(&context.start)?;
        let teacher_model_key = model_key(teacher::model_folder(&context))?;
        let mut base_key = key_of(&[&context.data_key, &student_key, &context.machine.describe()]);
        let given = given_head(&config.student);
        if !given.is_empty() {
            base_key = key_of(&[&base_key, &given]);
        }
        Ok(Self { context, test, base_key, student_key, teacher_model_key, whole_export: true })
    }

    /// As it is, but the student is exported without int8 files: for runs that are only measured.
    pub(crate) fn measured_only(mut self) -> Self {
        self.whole_export = false;
        self
    }

    /// Runs every stage up to `last` that is not finished yet.
    ///
    /// # Errors
    /// [`TrainError::Busy`] when another run is at work in the folder; whatever a stage says; [`TrainError::Interrupted`] when the stop
    /// flag is set. What was done is kept.
    pub fn run(&self, last: Stage) -> Result<Option<Verdict>, TrainError> {
        self.run_under(&RunLock::take(&self.context.config.run.output)?, last)
    }

    /// As [`Pipeline::run`] for somebody who has the folder's lock already.
    pub(crate) fn run_under(&self, _alone: &RunLock, last: Stage) -> Result<Option<Verdict>, TrainError> {
        let mut verdict = None;
        self.write_manifest()?;
        self.baseline()?;
        for stage in Stage::ALL.into_iter().filter(|&stage| stage <= last) {
            match stage {
                Stage::WarmUp => self.warm_up()?,
                Stage::Mine => self.mine(&self.round(0)?)?,
                Stage::Teacher => self.teacher()?,
                Stage::Score => self.score(&self.round(0)?)?,
                Stage::Distil => self.rounds()?,
                Stage::Export => self.export()?,
                Stage::Eval => verdict = self.eval()?,
            }
        }
        write_report(self, verdict.as_ref())?;
        if last >= Stage::Distil
            && let Some(change) = self.held_out_change()
        {
            self.context.reporter.say(&change.to_text());
        }
        if last >= Stage::Export && self.whole_export {
            let config = self.context.config;
            let own = (self.context.data.format == Format::Beir).then_some(&config.data.path);
            let collection = config.eval.collection.as_ref().or(own).map(PathBuf::as_path);
            let text = next_command(&self.context.own_path("student"), collection, &self.context.own_path("index"));
            self.context.reporter.say(&text);
        }
        Ok(verdict)
    }

    /// How the held-out queries are ranked before and after distillation, where some were held out and it is done.
    fn held_out_change(&self) -> Option<HeldOutChange> {
        let round = self.last_round().ok()?;
        let stamp = finished(&self.context.own_path(&round.folder_name("distil")), &self.distil_key(&round).ok()?)?;
        serde_json::from_value(stamp.outcome["held_out"].clone()).ok()
    }

    /// The same as a line of the card.
    fn held_out_row(&self) -> Option<MetricRow> {
        let HeldOutChange { queries, before, after, p_value } = self.held_out_change()?;
        Some(MetricRow {
            name: format!("nDCG@10, {queries} held-out training queries over mined candidates, {}", written(p_value)),
            before: Some(before),
            after,
        })
    }

    /// What the score stage warned of.
    pub(super) fn warnings(&self) -> Vec<String> {
        let key = self.round(0).and_then(|round| self.score_key(&round)).unwrap_or_default();
        let Some(stamp) = finished(&self.context.own_path("score"), &key) else { return Vec::new() };
        let mut warnings: Vec<String> =
            serde_json::from_value(stamp.outcome["calibration"]["warnings"].clone()).unwrap_or_default();
        let held_out: Option<HeldOut> = serde_json::from_value(stamp.outcome["held_out"].clone()).ok();
        warnings.extend(held_out.and_then(|held_out| held_out.warning()));
        warnings
    }

    /// Why a run to the end gives no verdict, and what there is in its place.
    pub fn without_verdict(&self) -> String {
        let config = &self.context.config.eval;
        let why = if config.enabled {
            let path = config.collection.as_ref().unwrap_or(&self.context.config.data.path);
            format!(
                "{} has no split `{}` to judge on; name one by [eval] collection and split",
                path.display(),
                config.split
            )
        } else {
            "evaluation is off, [eval] enabled = false".to_owned()
        };
        let held_out = self.held_out_change().map(|change| format!("; {}", change.to_text())).unwrap_or_default();
        format!("VERDICT: none ({why}){held_out}")
    }

    /// Does a stage unless its folder says that it is done and what it made is there, and stamps it.
    fn stage<T: Serialize>(
        &self,
        name: &str,
        key: &str,
        artifact: Option<Artifact>,
        work: impl FnOnce(&Path) -> Result<T, TrainError>,
    ) -> Result<Value, TrainError> {
        let folder = self.stage_folder(name);
        if let Some(stamp) = finished(&folder, key) {
            match artifact.as_ref().and_then(|artifact| artifact.fault(stamp.product.as_deref())) {
                None => {
                    self.context.reporter.say(&format!("{name}: done before, in {:.0} s", stamp.seconds));
                    return Ok(stamp.outcome);
                }
                Some(fault) => {
                    self.context.reporter.say(&format!("{name}: was done before, but {fault}"));
                    // What is half made again must not count as made.
                    remove_stamp(&folder)?;
                }
            }
        }
        std::fs::create_dir_all(&folder).map_err(|e| TrainError::io(&folder, e))?;
        // The lock is held: unfinished files are those of a run that was killed.
        durable::remove_leftovers(&folder).map_err(|e| TrainError::io(&folder, e))?;
        self.context.reporter.say(&format!("{name}: begins, on {}", self.context.machine.describe()));
        let began = Instant::now();
        let outcome = work(&folder)?;
        let seconds = began.elapsed().as_secs_f64();
        let hash = artifact.map_or(Ok(None), |artifact| artifact.hash())?;
        let stamp = stamp(&folder, key, seconds, &outcome, hash)?;
        self.context.reporter.say(&format!("{name}: done in {seconds:.0} s"));
        Ok(stamp.outcome)
    }

    fn baseline_key(&self) -> String {
        // What it is judged on, not where that lies.
        let config = EvalConfig { collection: None, ..self.context.config.eval.clone() };
        let judged = self.test.as_ref().map(TestSet::key);
        key_of(&[&"before", &self.base_key, &config, &judged])
    }

    /// The model that mining encodes with and that every comparison starts from, as ONNX.
    fn baseline(&self) -> Result<(), TrainError> {
        if self.test.is_none() && !self.context.config.mine.dense {
            return Ok(());
        }
        let artifact = Artifact::Exported(self.context.shared_path("before").join("student"));
        let outcome = self.stage("before", &self.baseline_key(), Some(artifact), |folder| {
            let student = folder.join("student");
            self.export_model(&self.context.start, &student, false, ModelCard::default())?;
            let measured = match &self.test {
                Some(test) => Some(test.measure(&self.context, &student, folder, "before")?),
                None => None,
            };
            Ok(Baseline { measured })
        })?;
        if let Ok(Baseline { measured: Some(measured) }) = serde_json::from_value(outcome) {
            self.context.reporter.say(&format!("before training: {}", measured.describe()));
        }
        Ok(())
    }

    fn export_model(&self, model: &Path, output: &Path, whole: bool, card: ModelCard) -> Result<(), TrainError> {
        let config = &self.context.config.student;
        let options = ExportOptions {
            int8: whole,
            f16: whole,
            card,
            pooling: config.pooling,
            normalised: config.normalised,
            query_prompt: config.query_prompt.clone(),
            document_prompt: config.document_prompt.clone(),
            seeds: vec![self.context.config.run.seed],
            alone: true,
            ..ExportOptions::new(model, output)
        };
        export(&options)?;
        Ok(())
    }

    fn warms_up(&self) -> bool {
        self.context.config.warm_up.training.epochs > 0
    }

    /// The model that distillation starts from.
    fn base(&self) -> PathBuf {
        if self.warms_up() { self.context.shared_path("warm-up").join("model") } else { self.context.start.clone() }
    }

    /// The student's settings for keys: its model counts by content, wherever it lies.
    fn student_config(&self) -> StudentConfig {
        StudentConfig { model: PathBuf::new(), ..self.context.config.student.clone() }
    }

    fn warm_up_key(&self) -> String {
        let config = self.context.config;
        if !self.warms_up() {
            return self.base_key.clone();
        }
        key_of(&[&"warm-up", &self.base_key, &config.warm_up, &self.student_config(), &config.dev, &config.run.seed])
    }

    fn warm_up(&self) -> Result<(), TrainError> {
        if self.warms_up() {
            let key = self.warm_up_key();
            let artifact = Artifact::Model(self.base());
            self.stage("warm-up", &key, Some(artifact), |folder| {
                let both = self.context.config.warm_up.mined_by == MinedBy::Both;
                let vectors = if both { Some(self.start_vectors(folder)?) } else { None };
                warm_up::warm_up(&self.context, vectors, folder, &key)
            })?;
        }
        Ok(())
    }

    /// A round of distillation, counted from 0.
    fn round(&self, number: usize) -> Result<Round, TrainError> {
        if number == 0 {
            return Ok(Round { number, base: self.base(), base_key: self.warm_up_key() });
        }
        let before = self.round(number - 1)?;
        let base = self.context.own_path(&before.folder_name("distil")).join("model");
        Ok(Round { number, base, base_key: self.distil_key(&before)? })
    }

    fn last_round(&self) -> Result<Round, TrainError> {
        self.round(self.context.config.rounds.count - 1)
    }

    fn mine_key(&self, round: &Round) -> String {
        key_of(&[&"mine", &round.base_key, &self.context.config.mine])
    }

    fn mine(&self, round: &Round) -> Result<(), TrainError> {
        let artifact = Artifact::File(round.mine_folder(&self.context).join("mined.jsonl"));
        self.stage(&round.folder_name("mine"), &self.mine_key(round), Some(artifact), |folder| {
            let data = &self.context.data;
            let all = [data.queries.as_slice(), data.dev.as_slice()].concat();
            let mut vectors = self.mining_vectors(round, folder)?;
            let mut indexing = self.context.reporter.bar("index", data.passages.len(), 0);
            let mut searching = self.context.reporter.bar("search", all.len(), 0);
            let config: &MineConfig = &self.context.config.mine;
            mine(
                config,
                &data.passages,
                &all,
                vectors.as_mut().map(|v| v as &mut dyn super::mine::VectorSource),
                &mut Surroundings {
                    folder,
                    stop: self.context.stop,
                    progress: &mut |progress| match progress {
                        MineProgress::Index(done, _) => indexing.set(done),
                        MineProgress::Search(done, _) => searching.set(done),
                    },
                },
            )?;
            Ok(json!({ "queries": all.len() }))
        })?;
        Ok(())
    }

    /// Vectors of passages and queries by the model that mining uses: the baseline's where nothing was trained yet.
    fn mining_vectors(&self, round: &Round, folder: &Path) -> Result<Option<VectorTable>, TrainError> {
        if !self.context.config.mine.dense {
            return Ok(None);
        }
        if !self.warms_up() && round.number == 0 {
            return self.start_vectors(folder).map(Some);
        }
        let encoder = trained_encoder(&self.context, &round.base)?;
        let (passages, queries) = corpus_vectors(&self.context, &encoder, folder)?;
        Ok(Some(VectorTable::of(encoder.fingerprint(), passages, queries)))
    }

    /// Vectors of the start model: the baseline's, where there is one.
    fn start_vectors(&self, folder: &Path) -> Result<VectorTable, TrainError> {
        let before = self.context.shared_path("before");
        let exported = before.join("student");
        let (encoder, folder) = if exported.is_dir() {
            (encoder(&self.context, &exported)?, before)
        } else {
            (trained_encoder(&self.context, &self.context.start)?, folder.to_owned())
        };
        let (passages, queries) = corpus_vectors(&self.context, &encoder, &folder)?;
        Ok(VectorTable::of(encoder.fingerprint(), passages, queries))
    }

    /// Who the teacher is: what it was trained from and how, or the folder it was taken from.
    fn teacher_key(&self) -> String {
        let config = self.context.config;
        let model = &self.teacher_model_key;
        // How the cross-encoder is used beside other voices is no part of what it is.
        let teacher = TeacherConfig {
            model: None,
            voices: Vec::new(),
            temperature: None,
            accept_weak: false,
            ..config.teacher.clone()
        };
        let first = Round { number: 0, base: self.base(), base_key: self.warm_up_key() };
        match teacher.kind {
            TeacherKind::Train => {
                key_of(&[&"teacher", &self.mine_key(&first), model, &teacher, &config.dev, &config.run.seed])
            }
            TeacherKind::Trained | TeacherKind::Onnx => key_of(&[&"given teacher", model, &teacher]),
        }
    }

    fn teacher(&self) -> Result<(), TrainError> {
        if !self.context.config.teacher.is_trained_here() {
            return Ok(());
        }
        let key = self.teacher_key();
        let artifact = Artifact::Model(self.context.shared_path("teacher"));
        self.stage("teacher", &key, Some(artifact), |folder| teacher::train(&self.context, folder, &key))?;
        Ok(())
    }

    fn score_key(&self, round: &Round) -> Result<String, TrainError> {
        let config = self.context.config;
        let teacher = self.teacher_key();
        let epochs = config.distil_of_round(round.number).epochs;
        let key = key_of(&[
            &"score",
            &self.mine_key(round),
            &teacher,
            &config.candidates,
            &config.dark,
            &config.loss.teacher_temperature,
            &epochs,
            &score::common_cap(&self.context),
            &config.run.distil_seed(),
        ]);
        if config.teacher.voices.is_empty() {
            return Ok(key);
        }
        let voices = voices::keys(&self.context, round, &teacher)?;
        let (list, per_step) = (config.loss.list, config.distil.queries_per_step);
        let weights: Vec<Option<f64>> = config.teacher.voices.iter().map(|voice| voice.weight).collect();
        Ok(key_of(&[&key, &voices, &weights, &config.teacher.temperature, &config.dev, &list, &per_step]))
    }

    fn score(&self, round: &Round) -> Result<(), TrainError> {
        let (key, teacher) = (self.score_key(round)?, self.teacher_key());
        let name = round.folder_name("score");
        let folder = self.context.own_path(&name);
        if let Some(stamp) = finished(&folder, &key)
            && self.context.config.teacher.voices.is_empty()
        {
            let wanted = stamp.outcome["pairs"].as_u64().unwrap_or(0);
            let there = score::on_file(&self.context, &teacher)? as u64;
            if there < wanted {
                let say = format!("score: was done before, but of {wanted} scores {there} are on file");
                self.context.reporter.say(&say);
                remove_stamp(&folder)?;
            }
        }
        let epochs = self.context.config.distil_of_round(round.number).epochs;
        self.stage(&name, &key, None, |folder| score::score(&self.context, round, epochs, folder, &teacher))?;
        Ok(())
    }

    fn distil_key(&self, round: &Round) -> Result<String, TrainError> {
        let config = self.context.config;
        Ok(key_of(&[
            &"distil",
            &self.score_key(round)?,
            &self.student_config(),
            &config.distil_of_round(round.number),
            &config.pacing,
            &config.loss,
            &config.dev,
        ]))
    }

    /// All rounds of distillation; the later ones mine and score first.
    fn rounds(&self) -> Result<(), TrainError> {
        for number in 0..self.context.config.rounds.count {
            let round = self.round(number)?;
            if number > 0 {
                self.mine(&round)?;
                self.score(&round)?;
            }
            self.distil(&round)?;
        }
        Ok(())
    }

    fn distil(&self, round: &Round) -> Result<(), TrainError> {
        let (key, teacher) = (self.distil_key(round)?, self.teacher_key());
        let name = round.folder_name("distil");
        let artifact = Artifact::Model(self.context.own_path(&name).join("model"));
        let score_folder = self.context.own_path(&round.folder_name("score"));
        let scored = finished(&score_folder, &self.score_key(round)?);
        let fusion = scored.and_then(|stamp| serde_json::from_value(stamp.outcome["fusion"].clone()).ok());
        let fusion: Fusion = fusion.unwrap_or_default();
        let training = self.context.config.distil_of_round(round.number);
        self.stage(&name, &key, Some(artifact), |folder| {
            let plan = distil::DistilPlan { training: &training, fusion, teacher_key: &teacher, key: &key };
            distil::distil(&self.context, round, folder, plan)
        })?;
        Ok(())
    }

    fn export_key(&self) -> Result<String, TrainError> {
        Ok(key_of(&[&"export", &self.distil_key(&self.last_round()?)?]))
    }

    fn export(&self) -> Result<(), TrainError> {
        let student = self.context.own_path("student");
        let key = self.export_key()?;
        let trained = self.context.own_path(&self.last_round()?.folder_name("distil")).join("model");
        self.stage("export", &key, Some(Artifact::Exported(student.clone())), |_| {
            // A fresh card lacks what was measured, so that stage has to follow.
            remove_stamp(&self.context.own_path("after"))?;
            let card = self.card(&student);
            self.export_model(&trained, &student, self.whole_export, card)?;
            Ok(json!({ "student": student.display().to_string() }))
        })?;
        Ok(())
    }

    /// Hash of everything the final measurement depends on.
    ///
    /// # Errors
    /// When a file that it depends on cannot be read.
    pub(crate) fn eval_key(&self) -> Result<String, TrainError> {
        Ok(key_of(&[&"eval", &self.export_key()?, &self.baseline_key()]))
    }

    pub(super) fn context(&self) -> &Context<'a> {
        &self.context
    }

    pub(super) fn test(&self) -> Option<&TestSet> {
        self.test.as_ref()
    }

    /// Every stage that may have run, with its folder.
    pub(super) fn stage_folders(&self) -> Vec<(String, PathBuf)> {
        let mut names: Vec<String> =
            ["before", "warm-up", "mine", "teacher", "score", "distil"].map(str::to_owned).into();
        for number in 2..=self.context.config.rounds.count {
            names.extend(["mine", "score", "distil"].map(|stage| format!("round-{number}-{stage}")));
        }
        names.extend(["export", "after"].map(str::to_owned));
        names.into_iter().map(|name| (name.clone(), self.stage_folder(&name))).collect()
    }

    /// The folder of a stage.
    fn stage_folder(&self, name: &str) -> PathBuf {
        let is_own = OWN.contains(&name) || name.starts_with("round-");
        if is_own { self.context.own_path(name) } else { self.context.shared_path(name) }
    }

    /// What this run does not share with others of the same output.
    pub(crate) fn own_path(&self, name: &str) -> PathBuf {
        self.context.own_path(name)
    }

    /// nDCG@10 of every test query by a run that was measured: the student's, or with `before` the untouched model's.
    pub(crate) fn per_query(&self, before: bool) -> Result<Vec<(String, f64)>, TrainError> {
        let folder = if before { self.context.shared_path("before") } else { self.context.own_path("after") };
        match &self.test {
            Some(test) => test.per_query(&folder),
            None => Err(TrainError::config(
                "there is no test split to compare runs on; name one by [eval] collection and split",
            )),
        }
    }

    /// What the finished measurement of the student, or with `before` of the untouched model, said.
    pub(crate) fn measured(&self, before: bool) -> Result<Measured, TrainError> {
        let folder = if before { self.context.shared_path("before") } else { self.context.own_path("after") };
        let path = folder.join("test.json");
        let text = std::fs::read(&path).map_err(|e| TrainError::io(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| TrainError::data(&path, e.to_string()))
    }

    /// Wall seconds that distillation took.
    pub(crate) fn distil_seconds(&self) -> Result<f64, TrainError> {
        let round = self.round(0)?;
        let stamp = finished(&self.context.own_path("distil"), &self.distil_key(&round)?);
        Ok(stamp.map_or(0.0, |stamp| stamp.seconds))
    }

    /// Training queries, and a hash of the data.
    pub(crate) fn data(&self) -> (usize, &str) {
        (self.context.data.queries.len(), &self.context.data_key)
    }

    /// Of the pairs that distillation will ask the teacher for, how many are scored already; and all scores on file. Nothing where
    /// the stages before scoring have not run, since their products decide which pairs these are.
    pub(crate) fn known_scores(&self) -> Result<Option<(usize, usize, usize)>, TrainError> {
        let path = score::cache_path(&self.context);
        let round = self.round(0)?;
        let folder = round.mine_folder(&self.context);
        let mined = finished(&folder, &self.mine_key(&round)).is_some();
        // Fused voices are mostly scored on the spot.
        if !mined || !path.is_file() || !self.context.config.teacher.voices.is_empty() {
            return Ok(None);
        }
        score::known(&self.context, &folder, &self.teacher_key()).map(Some)
    }

    /// What the student's card says.
    fn card(&self, student: &Path) -> ModelCard {
        let config = self.context.config;
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let teacher = match config.teacher.kind {
            TeacherKind::Train => "a cross-encoder trained for it".to_owned(),
            TeacherKind::Trained | TeacherKind::Onnx => {
                format!("the cross-encoder {}", name(teacher::model_folder(&self.context)).unwrap_or_default())
            }
        };
        let (distil, dark, loss) = (&config.distil, &config.dark, &config.loss);
        let setting = |name: &str, value: String| (name.to_owned(), value);
        ModelCard {
            name: name(student),
            base_model: hub_name(&config.student.model).or_else(|| name(&config.student.model)),
            summary: Some(format!(
                "Distilled from {teacher}, with dark examples (reinforced negatives, noisy positives) beside mined negatives."
            )),
            data: vec![format!(
                "{}: {} training queries, {} passages",
                name(&config.data.path).unwrap_or_default(),
                self.context.data.queries.len(),
                self.context.data.passages.len()
            )],
            settings: vec![
                setting("epochs", distil.epochs.to_string()),
                setting("queries a step", distil.queries_per_step.to_string()),
                setting("learning rate", format!("{:e}", distil.learning_rate)),
                setting("natural negatives", config.candidates.negatives.to_string()),
                setting("reinforced negatives", dark.reinforced.to_string()),
                setting("noisy positives", dark.noisy.to_string()),
                setting(
                    "temperatures (teacher, student)",
                    format!("{}, {}", loss.teacher_temperature, loss.student_temperature),
                ),
                setting("scale of the similarity", loss.scale.to_string()),
                setting("seeds", format!("{}, {}", config.run.seed, config.run.distil_seed())),
            ],
            metrics: self.held_out_row().into_iter().collect(),
            warnings: self.warnings(),
            ..ModelCard::default()
        }
    }

    /// Whether every loop of training kept the weights it began with.
    fn kept_start(&self) -> Result<bool, TrainError> {
        let mut folders = Vec::new();
        if self.warms_up() {
            folders.push(self.context.shared_path("warm-up"));
        }
        for number in 0..self.context.config.rounds.count {
            folders.push(self.context.own_path(&self.round(number)?.folder_name("distil")));
        }
        Ok(folders.iter().all(|folder| {
            let stamp = std::fs::read(folder.join("stamp.json")).ok();
            let stamp: Option<Value> = stamp.and_then(|text| serde_json::from_slice(&text).ok());
            stamp.is_some_and(|stamp| stamp["outcome"]["kept_weights"] == BEFORE_TRAINING)
        }))
    }

    fn eval(&self) -> Result<Option<Verdict>, TrainError> {
        let Some(test) = &self.test else { return Ok(None) };
        let key = self.eval_key()?;
        let outcome = self.stage("after", &key, None, |folder| {
            let measured = test.measure(&self.context, &self.context.own_path("student"), folder, "after")?;
            let mut verdict = test.verdict(&self.context, &self.context.shared_path("before"), folder)?;
            verdict.kept_start = self.kept_start()?;
            let before = self.measured(true)?;
            let config = self.context.config;
            let data = config.eval.collection.as_ref().unwrap_or(&config.data.path).file_stem();
            let data = data.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let mut rows: Vec<MetricRow> = measured
                .metrics
                .iter()
                .map(|(name, &after)| MetricRow {
                    name: format!("{name}, {data} {}, {} queries", config.eval.split, measured.queries),
                    before: before.metrics.get(name).copied(),
                    after,
                })
                .collect();
            if let Some(&after) = measured.hybrid.get("ndcg@10") {
                rows.push(MetricRow {
                    name: format!("ndcg@10 of a hybrid search with BM25, {data} {}", config.eval.split),
                    before: before.hybrid.get("ndcg@10").copied(),
                    after,
                });
            }
            add_hybrid_weight(&self.context.own_path("student"), measured.hybrid_weight, self.context.data.dev.len())?;
            rows.extend(self.held_out_row());
            add_results(&self.context.own_path("student"), &rows)?;
            Ok(json!({ "measured": measured, "verdict": verdict }))
        })?;
        let measured: Result<Measured, _> = serde_json::from_value(outcome["measured"].clone());
        if let Ok(measured) = measured {
            self.context.reporter.say(&format!("after training:  {}", measured.describe()));
        }
        let verdict = serde_json::from_value(outcome["verdict"].clone());
        Ok(Some(verdict.map_err(|e| TrainError::data(self.context.own_path("after"), e.to_string()))?))
    }

    /// Everything that a run is made of: settings, versions, hashes. What the last run had otherwise is said, since it is why stages begin
    /// anew.
    fn write_manifest(&self) -> Result<(), TrainError> {
        let manifest = json!({
            "program": format!("adam-train {}", env!("CARGO_PKG_VERSION")),
            "libtorch": crate::torch::VERSION,
            "machine": self.context.machine.describe(),
            "seed": self.context.config.run.seed,
            "distil_seed": self.context.config.run.distil_seed(),
            "data": self.context.data_key,
            "student": self.student_key,
            "teacher": self.teacher_model_key,
            "test": self.test.as_ref().map(TestSet::key),
            "configuration": self.context.config,
        });
        let path = self.context.own_path("manifest.json");
        let before = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(changed) = before.and_then(|before| changes(&before, &manifest)) {
            self.context.reporter.say(&format!("settings changed since the last run: {changed}"));
        }
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| TrainError::internal(e.to_string()))?;
        crate::files::write_whole(&path, &text)
    }
}

/// The name on the hub of a model that lies in its cache: `models--ORGANISATION--MODEL/snapshots/COMMIT`.
fn hub_name(model: &Path) -> Option<String> {
    let repository = model.parent().filter(|parent| parent.ends_with("snapshots"))?.parent()?.file_name()?.to_str()?;
    Some(repository.strip_prefix("models--")?.replacen("--", "/", 1))
}

/// What the configuration says over the student's folder, as a part of keys; empty where it says nothing.
fn given_head(config: &StudentConfig) -> String {
    let StudentConfig { pooling, normalised, query_prompt, document_prompt, max_length, .. } = config;
    if (pooling, normalised, query_prompt, document_prompt, max_length) == (&None, &None, &None, &None, &None) {
        return String::new();
    }
    key_of(&[pooling, normalised, query_prompt, document_prompt, max_length])
}
