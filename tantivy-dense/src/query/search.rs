//! Searching all segments of a searcher for one or more vectors.

use std::ops::Range;
use std::sync::Arc;

use tantivy::query::{EnableScoring, Query};
use tantivy::{Executor, Searcher};

use super::approximate::{self, Part, Walk, Walked};
use super::exact::{self, Asked, Candidates, Prepared};
use super::report::{Found, Hit, SearchPath, SegmentReport};
use super::rowset::matching;
use super::top::{Best, Top};
use crate::warm::{FieldVectors, SegmentVectors};
use crate::{Dense, DenseError, VectorField};

/// What a search is asked for, beside vectors.
#[derive(Clone)]
pub(super) struct Settings {
    pub k: usize,
    pub filter: Option<Arc<dyn Query>>,
    pub exact: bool,
    pub min_similarity: Option<f32>,
    pub ef: Option<usize>,
    pub nprobe: Option<usize>,
    pub oversample: Option<f32>,
}

impl Settings {
    pub(super) fn nearest(k: usize) -> Settings {
        Settings { k, filter: None, exact: false, min_similarity: None, ef: None, nprobe: None, oversample: None }
    }

    fn check(&self, field: &VectorField) -> Result<(), DenseError> {
        let wrong = |why: &str| Err(DenseError::Query { field: field.name().to_owned(), why: why.to_owned() });
        if self.min_similarity.is_some_and(f32::is_nan) {
            return wrong("the least similarity is not a number");
        }
        if self.oversample.is_some_and(|factor| !(factor.is_finite() && factor >= 1.0)) {
            return wrong("candidates per hit must be a number of 1 or more");
        }
        if self.ef == Some(0) || self.nprobe == Some(0) {
            return wrong("ef and nprobe must be 1 or more");
        }
        Ok(())
    }
}

/// Searches for every vector; the answers are in the order of the vectors.
pub(super) fn search(
    dense: &Dense,
    field: &VectorField,
    settings: &Settings,
    searcher: &Searcher,
    vectors: &[&[f32]],
) -> Result<Vec<Found>, DenseError> {
    settings.check(field)?;
    let metric = field.options().metric();
    let prepared = vectors.iter().map(|vector| Ok(Prepared::new(metric, field.prepare(vector)?)));
    let prepared = prepared.collect::<Result<Vec<Prepared>, DenseError>>()?;
    let opened = searcher
        .segment_readers()
        .iter()
        .map(|reader| dense.segment(searcher, reader))
        .collect::<Result<Vec<Arc<SegmentVectors>>, _>>()?;
    let segments = select(field, settings, searcher, &opened)?;
    let total: u64 = segments.iter().map(|segment| u64::from(segment.candidates.count())).sum();
    let k = settings.k.min(usize::try_from(total).unwrap_or(usize::MAX));
    let search = Search {
        dense,
        settings,
        k,
        total,
        least: settings.min_similarity.unwrap_or(f32::NEG_INFINITY),
        executor: searcher.index().search_executor(),
        segments,
    };
    search.run(prepared)
}

/// The rows of every segment that may be hits.
fn select<'a>(
    field: &VectorField,
    settings: &Settings,
    searcher: &Searcher,
    opened: &'a [Arc<SegmentVectors>],
) -> Result<Vec<Segment<'a>>, DenseError> {
    let filter = settings.filter.as_ref();
    let filter = filter.map(|filter| filter.weight(EnableScoring::disabled_from_searcher(searcher))).transpose()?;
    let mut segments = Vec::with_capacity(opened.len());
    for ((ordinal, reader), opened) in (0..).zip(searcher.segment_readers()).zip(opened) {
        let vectors = opened.field(field)?;
        let rows = &vectors.rows;
        let mut selected = opened.alive(rows, reader);
        if let Some(filter) = &filter {
            selected = Some(Arc::new(matching(filter.as_ref(), reader, rows, selected.as_deref())?));
        }
        segments.push(Segment { vectors, candidates: Candidates { ordinal, rows, selected } });
    }
    Ok(segments)
}

struct Segment<'a> {
    vectors: &'a FieldVectors,
    candidates: Candidates<'a>,
}

struct Search<'a> {
    dense: &'a Dense,
    settings: &'a Settings,
    k: usize,
    /// Selected rows of all segments.
    total: u64,
    least: f32,
    executor: &'a Executor,
    segments: Vec<Segment<'a>>,
}

/// A piece of work for one thread.
enum Task {
    /// Some rows of a segment, for some queries.
    Scan { segment: usize, rows: Range<u32>, queries: Arc<[usize]> },
    /// A segment's index, for one query.
    Walk { segment: usize, query: usize, want: usize, deep: bool },
}

/// What one query has from one segment's index so far.
struct Taken {
    best: Vec<Best>,
    want: usize,
}

impl Search<'_> {
    fn run(&self, prepared: Vec<Prepared>) -> Result<Vec<Found>, DenseError> {
        let metric = prepared.first().map(|query| query.metric);
        let plans: Vec<Result<Walk, Option<String>>> = self.segments.iter().map(|segment| self.plan(segment)).collect();
        let reports: Vec<SegmentReport> =
            self.segments.iter().zip(&plans).map(|(segment, plan)| report(&segment.candidates, plan)).collect();
        let mut reports = vec![reports; prepared.len()];
        let asked: Vec<Asked> = prepared.into_iter().map(|query| Asked::new(query, self.k, self.least)).collect();
        let mut taken: Vec<Vec<Option<Taken>>> =
            asked.iter().map(|_| self.segments.iter().map(|_| None).collect()).collect();
        let mut tasks = if self.k == 0 { Vec::new() } else { self.first_tasks(&plans, asked.len()) };
        while !tasks.is_empty() {
            let walked = self.work(&tasks, &plans, &asked)?;
            let mut rescan: Vec<Vec<usize>> = vec![Vec::new(); self.segments.len()];
            for (task, walked) in tasks.iter().zip(walked) {
                let (&Task::Walk { segment, query, want, .. }, Some(walked)) = (task, walked) else { continue };
                let report = &mut reports[query][segment];
                let enough = want.min(self.segments[segment].candidates.count() as usize);
                let short = match walked {
                    Ok(walked) if walked.returned >= enough => {
                        report.path = SearchPath::Index(walked.how);
                        taken[query][segment] = Some(Taken { best: walked.best, want });
                        continue;
                    }
                    Ok(walked) => format!("{} found {} rows of {enough}", walked.how, walked.returned),
                    Err(why) => why,
                };
                report.path = exact_path(&self.segments[segment].candidates);
                report.note = Some(short);
                taken[query][segment] = None;
                rescan[segment].push(query);
            }
            tasks = self.deeper(&asked, &mut taken);
            for (segment, queries) in rescan.into_iter().enumerate() {
                tasks.extend(self.scans(segment, queries.into()));
            }
        }
        let found = asked.iter().zip(taken).zip(reports).map(|((asked, taken), segments)| {
            let best = self.join(asked, &taken).into_sorted();
            let hits = best.into_iter().map(|best| Hit {
                address: best.address,
                similarity: best.similarity,
                score: metric.map_or(0.0, |metric| metric.score(best.similarity)),
            });
            Found { hits: hits.collect(), segments }
        });
        Ok(found.collect())
    }

    /// How to search the segment's index; or why not, if there is one.
    fn plan(&self, segment: &Segment) -> Result<Walk, Option<String>> {
        let index = segment.vectors.index.as_ref().map_err(Clone::clone)?;
        let selected = segment.candidates.count();
        if selected == 0 {
            return Err(None);
        }
        if self.settings.exact {
            return Err(Some("an exact search was asked for".to_owned()));
        }
        if self.settings.k == usize::MAX {
            return Err(Some("all documents within a similarity were asked for".to_owned()));
        }
        let share = f64::from(selected) / (self.total as f64).max(1.0);
        let rows = segment.candidates.rows;
        let part = Part { selected, rows: rows.len(), first_pass: rows.first_pass().is_some(), share };
        approximate::plan(index, &self.dense.inner.options.ann, self.settings, self.k, part).map_err(Some)
    }

    fn first_tasks(&self, plans: &[Result<Walk, Option<String>>], queries: usize) -> Vec<Task> {
        let all: Arc<[usize]> = (0..queries).collect();
        let mut tasks = Vec::new();
        for (segment, plan) in plans.iter().enumerate() {
            match plan {
                Ok(_) => {
                    let selected = self.segments[segment].candidates.count();
                    let share = f64::from(selected) / (self.total as f64).max(1.0);
                    let want = approximate::part_of(self.k, share).max(1);
                    tasks.extend((0..queries).map(|query| Task::Walk { segment, query, want, deep: false }));
                }
                Err(_) => tasks.extend(self.scans(segment, Arc::clone(&all))),
            }
        }
        tasks
    }

    fn scans(&self, segment: usize, queries: Arc<[usize]>) -> impl Iterator<Item = Task> + use<> {
        let ranges = (!queries.is_empty()).then(|| self.segments[segment].candidates.tasks());
        let ranges = ranges.into_iter().flatten();
        ranges.map(move |rows| Task::Scan { segment, rows, queries: Arc::clone(&queries) })
    }

    /// Does every task; walks have a result, or why there is none.
    #[allow(clippy::type_complexity)]
    fn work(
        &self,
        tasks: &[Task],
        plans: &[Result<Walk, Option<String>>],
        asked: &[Asked],
    ) -> Result<Vec<Option<Result<Walked, String>>>, DenseError> {
        let work = |task: &Task| match task {
            Task::Scan { segment, rows, queries } => {
                let asked: Vec<&Asked> = queries.iter().filter_map(|&query| asked.get(query)).collect();
                exact::scan(&self.segments[*segment].candidates, rows.clone(), &asked, self.k);
                Ok(None)
            }
            &Task::Walk { segment, query, want, deep } => {
                let Segment { vectors, candidates } = &self.segments[segment];
                let (Ok(walk), Ok(index)) = (&plans[segment], &vectors.index) else {
                    return Ok(Some(Err("there is no index".to_owned())));
                };
                let walked = approximate::walk(index, walk, candidates, &asked[query], (want, deep));
                Ok(Some(walked.map_err(|error| error.to_string())))
            }
        };
        match tasks {
            // A thread pool would only cost time.
            [task] => Ok(vec![work(task)?]),
            tasks => Ok(self.executor.map(work, tasks.iter())?),
        }
    }

    /// Walks to be repeated: those that were asked for a part of the hits, all of which turned out good enough.
    fn deeper(&self, asked: &[Asked], taken: &mut [Vec<Option<Taken>>]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (query, asked) in asked.iter().enumerate() {
            let partial = |taken: &Taken| taken.want < self.k && taken.best.len() >= taken.want;
            if !taken[query].iter().flatten().any(partial) {
                continue;
            }
            let bar = self.join(asked, &taken[query]).bar();
            for (segment, taken) in taken[query].iter_mut().enumerate() {
                let worst = taken.as_ref().filter(|taken| partial(taken)).and_then(|taken| taken.best.last());
                if worst.is_some_and(|worst| worst.similarity >= bar) {
                    *taken = None;
                    tasks.push(Task::Walk { segment, query, want: self.k, deep: true });
                }
            }
        }
        tasks
    }

    /// The best of all scans and walks for a query.
    fn join(&self, asked: &Asked, taken: &[Option<Taken>]) -> Top {
        let mut top = Top::new(self.k);
        top.extend(asked.scanned());
        taken.iter().flatten().for_each(|taken| top.extend(taken.best.iter().copied()));
        top
    }
}

fn exact_path(candidates: &Candidates) -> SearchPath {
    match (candidates.count(), candidates.rows.first_pass()) {
        (0, _) => SearchPath::Nothing,
        (_, None) => SearchPath::Exact,
        (_, Some(_)) => SearchPath::ExactInTwoPasses,
    }
}

/// How a segment is going to be searched; walks fill in what they did.
fn report(candidates: &Candidates, plan: &Result<Walk, Option<String>>) -> SegmentReport {
    let note = plan.as_ref().err().cloned().flatten();
    SegmentReport { rows: candidates.rows.len(), selected: candidates.count(), path: exact_path(candidates), note }
}
