//! Searching all segments of a searcher for one or more vectors.

use std::ops::Range;
use std::sync::Arc;

use tantivy::query::EnableScoring;
use tantivy::{Executor, Searcher};

use super::approximate::{self, Part, Traversal, TraversalPlan};
use super::exact::{self, Candidates, QueryState};
use super::on_device::{self, DeviceAnswer, SegmentRequest};
use super::report::{Hit, KnnOutcome, SearchPath, SegmentReport};
use super::rowset::matching;
use super::settings::Settings;
use super::top::{Best, Top};
use super::vector::QueryVector;
use crate::warm::{FieldVectors, SegmentVectors};
use crate::{Dense, DenseError, VectorField};

/// Searches for every vector; the answers are in the order of the vectors.
pub(super) fn search(
    dense: &Dense,
    field: &VectorField,
    settings: &Settings,
    searcher: &Searcher,
    vectors: &[&[f32]],
) -> Result<Vec<KnnOutcome>, DenseError> {
    settings.check(field)?;
    let metric = field.options().metric();
    let prepared = vectors.iter().map(|vector| Ok(QueryVector::new(metric, field.prepare(vector)?)));
    let prepared = prepared.collect::<Result<Vec<QueryVector>, DenseError>>()?;
    let opened = open(dense, searcher)?;
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

/// How many documents a search chooses from.
pub(super) fn num_candidates(
    dense: &Dense,
    field: &VectorField,
    settings: &Settings,
    searcher: &Searcher,
) -> Result<u64, DenseError> {
    let opened = open(dense, searcher)?;
    let segments = select(field, settings, searcher, &opened)?;
    Ok(segments.iter().map(|segment| u64::from(segment.candidates.count())).sum())
}

fn open(dense: &Dense, searcher: &Searcher) -> Result<Vec<Arc<SegmentVectors>>, DenseError> {
    searcher.segment_readers().iter().map(|reader| dense.segment(searcher, reader)).collect()
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
    vectors: &'a Arc<FieldVectors>,
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
    Index { segment: usize, query: usize, want: usize, deep: bool },
    /// A segment on a device, for some queries.
    Device { segment: usize, queries: Arc<[usize]> },
}

/// What a task came to.
enum TaskOutcome {
    /// What it found was added to the queries.
    Scan,
    Index(Result<Traversal, String>),
    /// One for each of its queries.
    Device(Vec<Result<DeviceAnswer, String>>),
}

/// How segments are going to be searched.
struct Plans {
    /// By an index on the processor; or why not, if there is one.
    traversals: Vec<Result<TraversalPlan, Option<String>>>,
    /// On a device; or why not. `None` where there is none, or nothing to search.
    devices: Vec<Option<Result<on_device::Plan, String>>>,
}

/// What one query has from one segment's index so far.
struct IndexHits {
    best: Vec<Best>,
    want: usize,
}

impl Search<'_> {
    fn run(&self, prepared: Vec<QueryVector>) -> Result<Vec<KnnOutcome>, DenseError> {
        let metric = prepared.first().map(|query| query.metric);
        let plans = self.plans(prepared.len());
        let mut reports = vec![self.reports(&plans); prepared.len()];
        let asked: Vec<QueryState> =
            prepared.into_iter().map(|query| QueryState::new(query, self.k, self.least)).collect();
        let mut taken: Vec<Vec<Option<IndexHits>>> =
            asked.iter().map(|_| self.segments.iter().map(|_| None).collect()).collect();
        let mut tasks = if self.k == 0 { Vec::new() } else { self.first_tasks(&plans, asked.len()) };
        while !tasks.is_empty() {
            let outcome = self.work(&tasks, &plans, &asked)?;
            // Per segment, the queries that its index or the device has not answered.
            let mut rescan: Vec<Vec<usize>> = vec![Vec::new(); self.segments.len()];
            let mut to_processor: Vec<Vec<usize>> = vec![Vec::new(); self.segments.len()];
            let mut take = |query: usize, segment: usize, want: usize, traversal: Result<Traversal, String>| {
                let report = &mut reports[query][segment];
                let enough = want.min(self.segments[segment].candidates.count() as usize);
                let short = match traversal {
                    Ok(traversal) if traversal.returned >= enough => {
                        report.path = SearchPath::Index(traversal.how);
                        taken[query][segment] = Some(IndexHits { best: traversal.best, want });
                        return;
                    }
                    Ok(traversal) => format!("{} found {} rows of {enough}", traversal.how, traversal.returned),
                    Err(why) => why,
                };
                report.path = exact_path(&self.segments[segment].candidates);
                report.add_note(short);
                taken[query][segment] = None;
                rescan[segment].push(query);
            };
            let mut answers = Vec::new();
            for (task, outcome) in tasks.iter().zip(outcome) {
                match (task, outcome) {
                    (&Task::Index { segment, query, want, .. }, TaskOutcome::Index(traversal)) => {
                        take(query, segment, want, traversal);
                    }
                    (Task::Device { segment, queries }, TaskOutcome::Device(given)) => {
                        for (&query, given) in queries.iter().zip(given) {
                            match given {
                                Ok(DeviceAnswer::Lists(traversal)) => take(query, *segment, self.k, Ok(traversal)),
                                Ok(DeviceAnswer::Rows(how)) => answers.push((query, *segment, Ok(how))),
                                Err(why) => answers.push((query, *segment, Err(why))),
                            }
                        }
                    }
                    _ => {}
                }
            }
            for (query, segment, given) in answers {
                let report = &mut reports[query][segment];
                match given {
                    Ok(how) => {
                        report.path = SearchPath::ExactOnDevice(how);
                        report.note = None;
                    }
                    Err(why) => {
                        report.note = self.note(&plans, segment, Some(&why));
                        to_processor[segment].push(query);
                    }
                }
            }
            tasks = self.deeper(&asked, &mut taken);
            for (segment, queries) in rescan.into_iter().enumerate() {
                tasks.extend(self.scans(segment, queries.into()));
            }
            for (segment, queries) in to_processor.into_iter().enumerate() {
                tasks.extend(self.on_processor(&plans, segment, &queries.into()));
            }
        }
        let found = asked.iter().zip(taken).zip(reports).map(|((asked, taken), segments)| {
            let best = self.join(asked, &taken).into_sorted();
            let hits = best.into_iter().map(|best| Hit {
                address: best.address,
                similarity: best.similarity,
                score: metric.map_or(0.0, |metric| metric.score(best.similarity)),
            });
            KnnOutcome { hits: hits.collect(), segments }
        });
        Ok(found.collect())
    }

    fn plans(&self, queries: usize) -> Plans {
        let traversals: Vec<Result<TraversalPlan, Option<String>>> =
            self.segments.iter().map(|segment| self.plan(segment)).collect();
        let device = |(segment, traversal): (&Segment, &Result<TraversalPlan, Option<String>>)| {
            if !self.settings.on_device {
                return None;
            }
            // As it was asked for: less than all documents may be left.
            let k = if self.settings.k == usize::MAX { usize::MAX } else { self.k };
            let selected = segment.candidates.count();
            let wanted = SegmentRequest { k, selected, queries, exact: self.settings.exact };
            on_device::plan(segment.vectors, wanted, traversal.as_ref().ok())
        };
        let devices = self.segments.iter().zip(&traversals).map(device).collect();
        Plans { traversals, devices }
    }

    /// How segments are going to be searched; indexes and devices fill in what they did.
    fn reports(&self, plans: &Plans) -> Vec<SegmentReport> {
        let report = |(at, segment): (usize, &Segment)| {
            let candidates = &segment.candidates;
            let why = plans.devices[at].as_ref().and_then(|plan| plan.as_ref().err());
            SegmentReport {
                rows: candidates.rows.len(),
                selected: candidates.count(),
                path: exact_path(candidates),
                note: self.note(plans, at, why.map(String::as_str)),
            }
        };
        self.segments.iter().enumerate().map(report).collect()
    }

    /// Why neither the device nor the index of a segment is used, as far as there is something to say.
    fn note(&self, plans: &Plans, segment: usize, device: Option<&str>) -> Option<String> {
        let name = self.segments[segment].vectors.slot.as_ref().map(|slot| slot.device.name());
        let device = device.zip(name).map(|(why, name)| format!("{name} is not used: {why}"));
        let index = plans.traversals[segment].as_ref().err().cloned().flatten();
        match (device, index) {
            (Some(device), Some(index)) => Some(format!("{device}; {index}")),
            (device, index) => device.or(index),
        }
    }

    /// How to search the segment's index; or why not, if there is one.
    fn plan(&self, segment: &Segment) -> Result<TraversalPlan, Option<String>> {
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

    fn first_tasks(&self, plans: &Plans, queries: usize) -> Vec<Task> {
        let all: Arc<[usize]> = (0..queries).collect();
        let mut tasks = Vec::new();
        for (segment, device) in plans.devices.iter().enumerate() {
            match device {
                Some(Ok(_)) => tasks.push(Task::Device { segment, queries: Arc::clone(&all) }),
                Some(Err(_)) | None => tasks.extend(self.on_processor(plans, segment, &all)),
            }
        }
        tasks
    }

    /// What it takes to search a segment without a device.
    fn on_processor(&self, plans: &Plans, segment: usize, queries: &Arc<[usize]>) -> Vec<Task> {
        match plans.traversals[segment] {
            Ok(_) => {
                let selected = self.segments[segment].candidates.count();
                let share = f64::from(selected) / (self.total as f64).max(1.0);
                let want = approximate::part_of(self.k, share).max(1);
                queries.iter().map(|&query| Task::Index { segment, query, want, deep: false }).collect()
            }
            Err(_) => self.scans(segment, Arc::clone(queries)).collect(),
        }
    }

    fn scans(&self, segment: usize, queries: Arc<[usize]>) -> impl Iterator<Item = Task> + use<> {
        let ranges = (!queries.is_empty()).then(|| self.segments[segment].candidates.tasks());
        let ranges = ranges.into_iter().flatten();
        ranges.map(move |rows| Task::Scan { segment, rows, queries: Arc::clone(&queries) })
    }

    /// Does every task.
    fn work(&self, tasks: &[Task], plans: &Plans, asked: &[QueryState]) -> Result<Vec<TaskOutcome>, DenseError> {
        let of =
            |queries: &[usize]| -> Vec<&QueryState> { queries.iter().filter_map(|&query| asked.get(query)).collect() };
        let work = |task: &Task| match task {
            Task::Scan { segment, rows, queries } => {
                exact::scan(&self.segments[*segment].candidates, rows.clone(), &of(queries), self.k);
                Ok(TaskOutcome::Scan)
            }
            &Task::Index { segment, query, want, deep } => {
                let Segment { vectors, candidates } = &self.segments[segment];
                let (Ok(traversal), Ok(index)) = (&plans.traversals[segment], &vectors.index) else {
                    return Ok(TaskOutcome::Index(Err("there is no index".to_owned())));
                };
                let traversal = approximate::traverse(index, traversal, candidates, &asked[query], (want, deep));
                Ok(TaskOutcome::Index(traversal.map_err(|error| error.to_string())))
            }
            Task::Device { segment, queries } => {
                let Segment { vectors, candidates } = &self.segments[*segment];
                let Some(Ok(plan)) = plans.devices[*segment] else { return Ok(TaskOutcome::Scan) };
                let plan = (plan, plans.traversals[*segment].as_ref().ok());
                Ok(TaskOutcome::Device(on_device::search(vectors, candidates, &of(queries), plan, self.k)))
            }
        };
        match tasks {
            // A thread pool would only cost time.
            [task] => Ok(vec![work(task)?]),
            tasks => Ok(self.executor.map(work, tasks.iter())?),
        }
    }

    /// Traversals to be repeated: those that were asked for a part of the hits, all of which turned out good enough.
    fn deeper(&self, asked: &[QueryState], taken: &mut [Vec<Option<IndexHits>>]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (query, asked) in asked.iter().enumerate() {
            let partial = |taken: &IndexHits| taken.want < self.k && taken.best.len() >= taken.want;
            if !taken[query].iter().flatten().any(partial) {
                continue;
            }
            let bar = self.join(asked, &taken[query]).bar();
            for (segment, taken) in taken[query].iter_mut().enumerate() {
                let worst = taken.as_ref().filter(|taken| partial(taken)).and_then(|taken| taken.best.last());
                if worst.is_some_and(|worst| worst.similarity >= bar) {
                    *taken = None;
                    tasks.push(Task::Index { segment, query, want: self.k, deep: true });
                }
            }
        }
        tasks
    }

    /// The best of all scans and traversals for a query.
    fn join(&self, asked: &QueryState, taken: &[Option<IndexHits>]) -> Top {
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
