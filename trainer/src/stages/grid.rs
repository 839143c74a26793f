//! The grid that decides whether dark examples help: the runs A to H of the method over one mining, one teacher and one cache of
//! scores, with equal steps and equal passages a step, several seeds, and a paired test between their rankings.

use super::eval::Measured;
use super::lock::RunLock;
use super::pipeline::{Pipeline, Stage};
use crate::adam::candidates::Sampling;
use crate::adam::dark::Placement;
use crate::adam::pacing::PacingOrder;
use crate::config::Config;
use crate::error::TrainError;
use crate::files::write_whole;
use crate::report::{Reporter, read_curves};
use beir_eval::significance::{CompareOptions, Comparison, compare};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// One run of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Letter {
    /// Contrastive only.
    A,
    /// With distillation on natural candidates.
    B,
    /// B with candidates stratified over the teacher's score range.
    C,
    /// B with reinforced negatives.
    D,
    /// B with noisy positives.
    E,
    /// B with both.
    F,
    /// F with self-paced selection.
    G,
    /// F on a random subset of the same size.
    H,
}

impl Letter {
    /// All of them.
    pub const ALL: [Self; 8] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F, Self::G, Self::H];

    /// Its name.
    pub fn name(self) -> &'static str {
        ["A", "B", "C", "D", "E", "F", "G", "H"][self as usize]
    }

    /// What it is.
    pub fn describe(self) -> &'static str {
        match self {
            Self::A => "contrastive only",
            Self::B => "A + distillation, natural candidates",
            Self::C => "B, candidates stratified by teacher score",
            Self::D => "B + reinforced negatives",
            Self::E => "B + noisy positives",
            Self::F => "B + both",
            Self::G => "F + self-paced",
            Self::H => "F, random subset of the same size",
        }
    }

    /// The configuration of this run. Where it has fewer dark examples than F, natural negatives take their place, so that every
    /// run sees as many passages a query and step.
    fn configure(self, base: &Config) -> Config {
        let mut config = base.clone();
        let (reinforced, noisy) = (base.dark.reinforced, base.dark.noisy);
        let (with_reinforced, with_noisy) = match self {
            Self::A | Self::B | Self::C => (false, false),
            Self::D => (true, false),
            Self::E => (false, true),
            Self::F | Self::G | Self::H => (true, true),
        };
        config.dark.reinforced = if with_reinforced { reinforced } else { 0 };
        config.dark.noisy = if with_noisy { noisy } else { 0 };
        if base.dark.placement == Placement::Added {
            let missing = reinforced + noisy - config.dark.reinforced - config.dark.noisy;
            config.candidates.negatives += missing;
        }
        if self == Self::A {
            config.loss.contrastive = if base.loss.contrastive > 0.0 { base.loss.contrastive } else { 1.0 };
            config.loss.distillation = 0.0;
        }
        if self == Self::C {
            config.candidates.sampling = Sampling::Stratified;
        }
        config.pacing.enabled = matches!(self, Self::G | Self::H);
        config.pacing.order = if self == Self::H { PacingOrder::Random } else { PacingOrder::Margin };
        config
    }
}

/// What the grid runs.
#[derive(Clone, Debug)]
pub struct GridOptions {
    /// Which runs.
    pub letters: Vec<Letter>,
    /// Seeds of distillation.
    pub seeds: Vec<u64>,
    /// Whether the students are kept; without that a run leaves its rankings and measurements.
    pub keep_models: bool,
}

/// One run with one seed, done.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cell {
    /// Hash of all it depends on.
    key: String,
    measured: Measured,
    /// Optimiser steps.
    steps: u64,
    /// Mean passages of a query in a step.
    passages: f64,
    /// Mean share of the queries that dark examples were let in for.
    selected: f64,
    /// Seconds of distillation.
    seconds: f64,
}

/// nDCG@10 of each query.
type PerQuery = BTreeMap<String, f64>;

/// The outcome of a grid.
#[derive(Clone, Debug, Serialize)]
pub struct GridReport {
    /// The data's name and hash.
    pub data: (String, String),
    /// Training queries.
    pub training_queries: usize,
    /// Queries measured on.
    pub test_queries: usize,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// The model before training.
    pub before: f64,
    /// The runs that are done.
    pub rows: Vec<GridRow>,
    /// Pairs of runs compared.
    pub comparisons: Vec<GridComparison>,
}

/// A run over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct GridRow {
    /// Which.
    pub run: Letter,
    /// nDCG@10 by seed.
    pub ndcg: Vec<f64>,
    /// Means over the seeds: by metric.
    pub metrics: BTreeMap<String, f64>,
    /// Optimiser steps of a seed.
    pub steps: u64,
    /// Mean passages of a query in a step.
    pub passages: f64,
    /// Mean share of queries with dark examples.
    pub selected: f64,
    /// Mean minutes of distillation.
    pub minutes: f64,
}

/// Two runs, compared query by query over the means of their seeds.
#[derive(Clone, Debug, Serialize)]
pub struct GridComparison {
    /// The run that should be better.
    pub better: String,
    /// Than this one.
    pub than: String,
    /// Mean difference in nDCG@10.
    pub difference: f64,
    /// Its 95 % interval, by bootstrap over queries.
    pub interval: (f64, f64),
    /// Of the paired randomisation test, two-sided.
    pub p: f64,
    /// The same after Holm's correction over all comparisons here.
    pub p_holm: f64,
}

/// Which runs are compared, and whether the method asks for it.
const PAIRS: [(Letter, Letter); 9] = [
    (Letter::B, Letter::A),
    (Letter::C, Letter::B),
    (Letter::D, Letter::B),
    (Letter::E, Letter::B),
    (Letter::F, Letter::B),
    (Letter::F, Letter::C),
    (Letter::G, Letter::F),
    (Letter::G, Letter::B),
    (Letter::G, Letter::H),
];

/// Runs what is missing of a grid. The table is written to `grid.md` (and `grid.json`) in the run's folder after every run, so that
/// a grid that is stopped shows what it has; the same call goes on.
///
/// # Errors
/// As [`Pipeline::run`]; when there is no test split.
pub fn grid(
    config: &Config,
    options: &GridOptions,
    reporter: &Reporter,
    stop: &AtomicBool,
) -> Result<GridReport, TrainError> {
    if options.letters.is_empty() || options.seeds.is_empty() {
        return Err(TrainError::config("a grid needs at least one run and one seed"));
    }
    let mut cells: BTreeMap<Letter, Vec<(u64, Cell, PerQuery)>> = BTreeMap::new();
    let mut report = None;
    // For the whole grid, as its runs share mining, teacher and scores.
    let mut alone = if config.queries.is_active() {
        Some(RunLock::take(&config.run.output)?)
    } else {
        RunLock::take_if_there(&config.run.output)?
    };
    for (turn, &seed) in options.seeds.iter().enumerate() {
        for (place, &letter) in options.letters.iter().enumerate() {
            let number = turn * options.letters.len() + place + 1;
            let all = options.letters.len() * options.seeds.len();
            reporter.say(&format!("grid: {number} of {all}: {} ({}), seed {seed}", letter.name(), letter.describe()));
            let mut own = letter.configure(config);
            own.run.distil_seed = Some(seed);
            own.run.branch = Path::new("grid").join(format!("{}-{seed}", letter.name()));
            let pipeline = Pipeline::open(&own, reporter, stop)?.measured_only();
            let alone = match &mut alone {
                Some(alone) => alone,
                none => none.insert(RunLock::take(&config.run.output)?),
            };
            let cell = one(&pipeline, alone, &own, options)?;
            let per_query = pipeline.per_query(false)?.into_iter().collect();
            cells.entry(letter).or_default().push((seed, cell, per_query));
            let made = summarise(config, options, &pipeline, &cells)?;
            write_whole(&config.run.output.join("grid.md"), made.to_markdown().as_bytes())?;
            let json = serde_json::to_vec_pretty(&made).map_err(|e| TrainError::internal(e.to_string()))?;
            write_whole(&config.run.output.join("grid.json"), &json)?;
            report = Some(made);
        }
    }
    report.ok_or_else(|| TrainError::config("a grid needs at least one run and one seed"))
}

/// Runs one cell unless it is done.
fn one(pipeline: &Pipeline<'_>, alone: &RunLock, config: &Config, options: &GridOptions) -> Result<Cell, TrainError> {
    let path = pipeline.own_path("result.json");
    let known: Option<Cell> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let key = pipeline.eval_key()?;
    if let Some(cell) = known.filter(|cell| cell.key == key) {
        return Ok(cell);
    }
    pipeline.run_under(alone, Stage::Eval)?;
    let curves = read_curves(&pipeline.own_path(""))?;
    let mean = |name: &str| -> f64 {
        let points = curves.get(&("distil".to_owned(), name.to_owned())).map_or(&[][..], |c| &c.points);
        points.iter().map(|p| p.1).sum::<f64>() / points.len().max(1) as f64
    };
    let steps = pipeline.data().0.div_ceil(config.distil.queries_per_step) * config.distil.epochs;
    let cell = Cell {
        key,
        measured: pipeline.measured(false)?,
        steps: steps as u64,
        passages: mean("passages_per_query"),
        selected: mean("selected"),
        seconds: pipeline.distil_seconds()?,
    };
    let text = serde_json::to_vec_pretty(&cell).map_err(|e| TrainError::internal(e.to_string()))?;
    write_whole(&path, &text)?;
    if !options.keep_models {
        // Some hundred megabytes a run; the stamps go with them, so that a run whose result is void is made again whole.
        for name in ["distil", "export", "student"] {
            let folder = pipeline.own_path(name);
            if folder.is_dir() {
                std::fs::remove_dir_all(&folder).map_err(|e| TrainError::io(&folder, e))?;
            }
        }
        for name in ["passages.vectors", "corpus.vectors", "passages.npy", "passages.npy.json"] {
            let _ = std::fs::remove_file(pipeline.own_path("after").join(name));
        }
    }
    Ok(cell)
}

fn summarise(
    config: &Config,
    options: &GridOptions,
    pipeline: &Pipeline<'_>,
    cells: &BTreeMap<Letter, Vec<(u64, Cell, PerQuery)>>,
) -> Result<GridReport, TrainError> {
    let metric = "ndcg@10";
    let mut averages: BTreeMap<&str, PerQuery> = BTreeMap::new();
    averages.insert("before", pipeline.per_query(true)?.into_iter().collect());
    let mut rows = Vec::new();
    for (&letter, made) in cells {
        let count = made.len() as f64;
        let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
        let mut average = PerQuery::new();
        for (_, cell, per_query) in made {
            for (name, value) in &cell.measured.metrics {
                *metrics.entry(name.clone()).or_default() += value / count;
            }
            for (query, value) in per_query {
                *average.entry(query.clone()).or_default() += value / count;
            }
        }
        averages.insert(letter.name(), average);
        let mean = |value: fn(&Cell) -> f64| made.iter().map(|m| value(&m.1)).sum::<f64>() / count;
        rows.push(GridRow {
            run: letter,
            ndcg: made.iter().map(|m| m.1.measured.metrics.get(metric).copied().unwrap_or_default()).collect(),
            metrics,
            steps: made.first().map_or(0, |m| m.1.steps),
            passages: mean(|c| c.passages),
            selected: mean(|c| c.selected),
            minutes: mean(|c| c.seconds) / 60.0,
        });
    }
    let best = cells.keys().rev().find(|l| **l <= Letter::G).map(|l| l.name());
    let mut pairs: Vec<(&str, &str)> =
        PAIRS.iter().filter(|(a, b)| complete(cells, *a, *b)).map(|(a, b)| (a.name(), b.name())).collect();
    pairs.extend(best.map(|best| (best, "before")));
    let mut comparisons = pairs
        .into_iter()
        .map(|(a, b)| {
            let found = paired(&averages[a], &averages[b], config)?;
            Ok(GridComparison {
                better: a.to_owned(),
                than: b.to_owned(),
                difference: found.difference,
                interval: (found.low, found.high),
                p: found.p_value,
                p_holm: 1.0,
            })
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let raw: Vec<f64> = comparisons.iter().map(|c| c.p).collect();
    for (comparison, p) in comparisons.iter_mut().zip(holm(&raw)) {
        comparison.p_holm = p;
    }
    let before = pipeline.measured(true)?;
    let name = config.data.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(GridReport {
        data: (name, pipeline.data().1.to_owned()),
        training_queries: pipeline.data().0,
        test_queries: before.queries,
        seeds: options.seeds.clone(),
        before: before.metrics.get(metric).copied().unwrap_or_default(),
        rows,
        comparisons,
    })
}

/// Whether two runs are done for the same seeds.
fn complete(cells: &BTreeMap<Letter, Vec<(u64, Cell, PerQuery)>>, a: Letter, b: Letter) -> bool {
    let seeds = |letter| cells.get(&letter).map(|made| made.iter().map(|m| m.0).collect::<Vec<_>>());
    seeds(a).is_some() && seeds(a) == seeds(b)
}

fn paired(a: &PerQuery, b: &PerQuery, config: &Config) -> Result<Comparison, TrainError> {
    let (left, right): (Vec<f64>, Vec<f64>) =
        a.iter().filter_map(|(query, value)| Some((*value, *b.get(query)?))).unzip();
    let options =
        CompareOptions { permutations: config.eval.permutations, seed: config.run.seed, ..CompareOptions::default() };
    Ok(compare(&left, &right, &options)?)
}

/// Holm's step-down correction: the smallest p times the number of tests, the next times one less, never falling.
fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![1.0; p.len()];
    let mut least = 0.0f64;
    for (rank, &place) in order.iter().enumerate() {
        least = least.max(p[place] * (p.len() - rank) as f64).min(1.0);
        corrected[place] = least;
    }
    corrected
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
