//! One random life of an index, and the model beside it.

use std::collections::BTreeMap;
use std::ops::Bound;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tantivy::collector::{Count, DocSetCollector};
use tantivy::directory::{Directory, MmapDirectory, RamDirectory};
use tantivy::index::{IndexSettings, IndexSortByField, Order};
use tantivy::indexer::{LogMergePolicy, NoMergePolicy};
use tantivy::query::{Query, RangeQuery};
use tantivy::schema::{FAST, Field, INDEXED};
use tantivy::{DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Dense, DenseOptions, Element, Hit, KnnOutcome, KnnQuery, Metric, VectorOptions};

use crate::support::{self, Fixture, assert_hits};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sorting {
    None,
    Ascending,
    Descending,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub options: VectorOptions,
    pub sorting: Sorting,
    /// Else in memory, where the index cannot be opened anew.
    pub on_disk: bool,
    /// Of the index writer.
    pub threads: usize,
    /// Whether tantivy merges on its own, in the background; else only when a step says so.
    pub merges_by_itself: bool,
    pub searches_in_parallel: bool,
    /// An index that merges build over every segment of 20 rows or more, as a factory string.
    pub index: Option<&'static str>,
    pub seed: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    vector: Option<Vec<f32>>,
    /// From 0 to 999, for filters.
    mark: u64,
}

type Model = BTreeMap<u64, Entry>;

pub struct Life {
    plan: Plan,
    fixture: Fixture,
    mark: Field,
    sort: Field,
    folder: tempfile::TempDir,
    dense: Dense,
    index: Index,
    reader: IndexReader,
    /// None only while the index is opened anew.
    writer: Option<IndexWriter>,
    random: ChaCha8Rng,
    next: u64,
    /// With what is not committed yet.
    current: Model,
    committed: Model,
    /// What the reader's searcher must see.
    visible: Model,
    /// Searchers of the past, which must go on to see what they saw.
    held: Vec<(Searcher, Model)>,
    /// Of searches that an approximate index took part in: hits that the model has, and hits that were due.
    found: Recall,
}

/// How many of the true nearest were found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall {
    pub found: usize,
    pub due: usize,
    pub searches: usize,
}

impl Life {
    pub fn begin(plan: Plan) -> Life {
        let mut fields = None;
        let fixture = Fixture::with(plan.options.clone(), |schema| {
            fields = Some((schema.add_u64_field("mark", INDEXED | FAST), schema.add_u64_field("sort", FAST)));
        });
        let (mark, sort) = fields.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dense = Dense::with_options(DenseOptions::default().ann(policy(&plan)));
        let directory: Box<dyn Directory> = if plan.on_disk {
            Box::new(MmapDirectory::open(folder.path()).unwrap())
        } else {
            Box::new(RamDirectory::create())
        };
        let order = match plan.sorting {
            Sorting::None => None,
            Sorting::Ascending => Some(Order::Asc),
            Sorting::Descending => Some(Order::Desc),
        };
        let sort_by_field = order.map(|order| IndexSortByField { field: "sort".to_owned(), order });
        let settings = IndexSettings { sort_by_field, ..IndexSettings::default() };
        let builder = dense.index_builder().schema(fixture.schema.clone()).settings(settings);
        let mut index = builder.open_or_create(directory).unwrap();
        let (writer, reader) = open(&plan, &dense, &mut index);
        Life {
            random: support::random(plan.seed),
            plan,
            fixture,
            mark,
            sort,
            folder,
            dense,
            index,
            reader,
            writer: Some(writer),
            next: 0,
            current: Model::new(),
            committed: Model::new(),
            visible: Model::new(),
            held: Vec::new(),
            found: Recall::default(),
        }
    }

    /// Lives through so many steps. Returns what approximate indexes found.
    pub fn run(mut self, steps: usize) -> Recall {
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..36 => self.add(),
                36..50 => self.update(),
                50..62 => self.delete(),
                62..76 => self.commit(),
                76..80 => self.roll_back(),
                80..88 => self.merge(),
                88..98 => self.reload(),
                _ => self.open_anew(),
            }
        }
        self.commit();
        self.reload();
        assert_eq!(self.index.validate_checksum().unwrap().len(), 0);
        self.dense.verify(&self.index).unwrap();
        self.found
    }

    fn add_one(&mut self, id: u64) {
        let dimension = self.plan.options.dimension();
        let vector = match self.random.random_range(0..20) {
            0 | 1 => None,
            // The same vector again: ties.
            2 => self.current.values().find_map(|entry| entry.vector.clone()),
            3 => {
                let long = support::vector(&mut self.random, dimension);
                Some(long.iter().map(|value| value * 50.0).collect())
            }
            _ => Some(support::vector(&mut self.random, dimension)),
        };
        let mark = self.random.random_range(0..1000);
        let mut document = self.fixture.document(id, vector.as_deref());
        document.add_u64(self.mark, mark);
        document.add_u64(self.sort, self.random.random_range(0..50));
        self.writer.as_ref().unwrap().add_document(document).unwrap();
        self.current.insert(id, Entry { vector, mark });
    }

    fn add(&mut self) {
        for _ in 0..self.random.random_range(1..60) {
            let id = self.next;
            self.next += 1;
            self.add_one(id);
        }
    }

    fn some_id(&mut self) -> Option<u64> {
        let count = self.current.len();
        let at = self.random.random_range(0..count.max(1));
        self.current.keys().nth(at).copied()
    }

    fn remove(&mut self, id: u64) {
        self.writer.as_ref().unwrap().delete_term(Term::from_field_u64(self.fixture.id, id));
        self.current.remove(&id);
    }

    fn update(&mut self) {
        for _ in 0..self.random.random_range(1..8) {
            if let Some(id) = self.some_id() {
                self.remove(id);
                self.add_one(id);
            }
        }
    }

    fn delete(&mut self) {
        // Now and then so many that whole segments die.
        let most = if self.random.random_bool(0.1) { self.current.len() / 2 + 2 } else { 8 };
        for _ in 0..self.random.random_range(1..most.max(2)) {
            if let Some(id) = self.some_id() {
                self.remove(id);
            }
        }
    }

    fn commit(&mut self) {
        self.writer.as_mut().unwrap().commit().unwrap();
        self.committed = self.current.clone();
    }

    fn roll_back(&mut self) {
        let writer = self.writer.as_mut().unwrap();
        self.dense.rollback(writer).unwrap();
        merge_by(&self.plan, writer);
        self.current = self.committed.clone();
    }

    /// Merges some or all segments, while there may be documents that are not committed.
    fn merge(&mut self) {
        if self.plan.merges_by_itself {
            return;
        }
        let mut ids = self.index.searchable_segment_ids().unwrap();
        if self.random.random_bool(0.5) {
            ids.retain(|_| self.random.random_bool(0.5));
        }
        if !ids.is_empty() {
            self.writer.as_mut().unwrap().merge(&ids).wait().unwrap();
        }
    }

    fn reload(&mut self) {
        // Merges run beside it: `Dense::reload` looks again where one takes a segment away.
        self.dense.reload(&self.index, &self.reader).unwrap();
        self.visible = self.committed.clone();
        let searcher = self.reader.searcher();
        let model = self.visible.clone();
        self.check(&searcher, &model, "now");
        if let Some((old, model)) = self.held.pop() {
            self.check(&old, &model, "held");
        }
        if self.random.random_bool(0.5) {
            self.held = vec![(searcher, model)];
        }
    }

    fn open_anew(&mut self) {
        if !self.plan.on_disk {
            return;
        }
        self.held.clear();
        // Waits for its merges and gives up the lock; what is not committed is lost.
        self.writer.take().unwrap().wait_merging_threads().unwrap();
        self.dense = Dense::with_options(DenseOptions::default().ann(policy(&self.plan)));
        self.index = self.dense.open_index(MmapDirectory::open(self.folder.path()).unwrap()).unwrap();
        let (writer, reader) = open(&self.plan, &self.dense, &mut self.index);
        (self.writer, self.reader) = (Some(writer), reader);
        self.current = self.committed.clone();
        self.reload();
    }

    /// Holds everything that a searcher answers against a model.
    fn check(&mut self, searcher: &Searcher, model: &Model, when: &str) {
        let what = format!("{when}, {:?}", self.plan);
        let addresses = self.fixture.addresses(searcher);
        let missing: Vec<&u64> = model.keys().filter(|id| !addresses.contains_key(id)).collect();
        let extra: Vec<&u64> = addresses.keys().filter(|id| !model.contains_key(id)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, not deleted {extra:?}, {what}");
        let mut kept: BTreeMap<u64, Vec<f32>> = BTreeMap::new();
        for (id, entry) in model {
            let found = self.dense.vector(searcher, &self.fixture.vector, addresses[id]).unwrap();
            match (&entry.vector, found) {
                (None, None) => {}
                (Some(given), Some(found)) => {
                    assert_rounded(&self.plan.options, given, &found, &what);
                    kept.insert(*id, found);
                }
                (given, found) => panic!("vector of {id} is {found:?} instead of {given:?}, {what}"),
            }
        }
        for _ in 0..4 {
            self.check_search(searcher, model, &kept, &what);
        }
    }

    fn check_search(&mut self, searcher: &Searcher, model: &Model, kept: &BTreeMap<u64, Vec<f32>>, what: &str) {
        let metric = self.plan.options.metric();
        let query = support::vector(&mut self.random, self.plan.options.dimension());
        let k = [1, 3, 10, 40, 5000][self.random.random_range(0..5)];
        // Thousandths of the documents.
        let selected = [1000, 1000, 500, 100, 10, 1][self.random.random_range(0..6)];
        let what = format!("k {k}, filter {selected} / 1000, {what}");
        let mut expected: Vec<(u64, f64)> = kept
            .iter()
            .filter(|(id, _)| model[id].mark < selected)
            .map(|(&id, kept)| {
                let given = model[&id].vector.as_ref().unwrap();
                (id, similarity(metric, &query, kept, given))
            })
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut knn = KnnQuery::new(&self.dense, self.fixture.vector.clone(), query, k);
        if selected < 1000 {
            knn = knn.filter(below(self.mark, selected));
        }
        let KnnOutcome { hits, segments } = knn.run(searcher).unwrap();
        if segments.iter().all(|segment| segment.path.is_exact()) {
            assert_hits(&self.fixture, searcher, &hits, &expected, k, &what);
        } else {
            self.check_approximate(searcher, &hits, &expected, k, &what);
            let exact = knn.clone().exact().search(searcher).unwrap();
            assert_hits(&self.fixture, searcher, &exact, &expected, k, &what);
        }
        // As a query, with collectors of tantivy's.
        assert_eq!(searcher.search(&knn, &Count).unwrap(), hits.len(), "{what}");
        let mut collected: Vec<DocAddress> = searcher.search(&knn, &DocSetCollector).unwrap().into_iter().collect();
        let mut addresses: Vec<DocAddress> = hits.iter().map(|hit| hit.address).collect();
        collected.sort_unstable();
        addresses.sort_unstable();
        assert_eq!(collected, addresses, "{what}");
    }
}

/// An index may miss some. What it finds must be right: as many as are due, each among the candidates, with its own
/// similarity, in order.
impl Life {
    fn check_approximate(&mut self, searcher: &Searcher, hits: &[Hit], expected: &[(u64, f64)], k: usize, what: &str) {
        let due = k.min(expected.len());
        assert_eq!(hits.len(), due, "number of hits, {what}");
        let ids: Vec<u64> = hits.iter().map(|hit| self.fixture.id_at(searcher, hit.address)).collect();
        let mut of_them: Vec<(u64, f64)> = Vec::new();
        for id in &ids {
            let candidate = expected.iter().find(|(candidate, _)| candidate == id);
            of_them.push(*candidate.unwrap_or_else(|| panic!("document {id} is no candidate, {what}")));
        }
        of_them.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_hits(&self.fixture, searcher, hits, &of_them, k, what);
        // By similarity, since equal vectors can stand for one another.
        let least = expected.get(due.wrapping_sub(1)).map_or(f64::INFINITY, |last| last.1);
        self.found.found += of_them.iter().filter(|(_, similarity)| *similarity >= least - 1e-6).count();
        self.found.due += due;
        self.found.searches += 1;
    }
}

fn policy(plan: &Plan) -> AnnPolicy {
    plan.index.map_or_else(AnnPolicy::never, |factory| AnnPolicy::always(factory, 20))
}

/// Called for every writer that is new: opened, or rolled back.
fn merge_by(plan: &Plan, writer: &IndexWriter) {
    if plan.merges_by_itself {
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(3);
        policy.set_min_layer_size(100);
        writer.set_merge_policy(Box::new(policy));
    } else {
        writer.set_merge_policy(Box::new(NoMergePolicy));
    }
}

fn open(plan: &Plan, dense: &Dense, index: &mut Index) -> (IndexWriter, IndexReader) {
    if plan.searches_in_parallel {
        index.set_multithread_executor(2).unwrap();
    }
    let writer = index.writer_with_num_threads(plan.threads, 15_000_000 * plan.threads).unwrap();
    dense.prepare(&writer).unwrap();
    merge_by(plan, &writer);
    let reader = dense.reader_builder(index).reload_policy(ReloadPolicy::Manual).try_into().unwrap();
    (writer, reader)
}

/// Documents with a mark below `limit`.
pub fn below(mark: Field, limit: u64) -> Box<dyn Query> {
    Box::new(RangeQuery::new(Bound::Unbounded, Bound::Excluded(Term::from_field_u64(mark, limit))))
}

/// Similarity to a vector as it is kept. Under cosine, what is kept is the direction of the vector that was given.
fn similarity(metric: Metric, query: &[f32], kept: &[f32], given: &[f32]) -> f64 {
    match metric {
        Metric::Cosine => {
            let length = |vector: &[f32]| support::similarity(Metric::Dot, vector, vector).sqrt();
            support::similarity(Metric::Dot, query, kept) / (length(query) * length(given))
        }
        Metric::Dot | Metric::L2 => support::similarity(metric, query, kept),
    }
}

/// A vector read back differs from the one that was given by its element type's rounding and no more.
fn assert_rounded(options: &VectorOptions, given: &[f32], found: &[f32], what: &str) {
    assert_eq!(given.len(), found.len(), "{what}");
    let largest = given.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (&given, &found) in given.iter().zip(found) {
        let normalised = if options.metric() == Metric::Cosine { given.abs() * 3e-7 } else { 0.0 };
        let allowed = normalised
            + match options.element_type() {
                Element::F32 => 0.0,
                // Half of the last of eleven binary digits, and the least numbers that there are.
                Element::F16 => given.abs() * 4.9e-4 + largest * 5e-7 + 3e-8,
                // Half of one of 127 steps.
                Element::Int8 => largest * (0.501 / 127.0),
            }
            + match (options.metric(), options.element_type()) {
                // Rounded rows get their length of 1 back.
                (Metric::Cosine, Element::F16) => given.abs() * 4.9e-4,
                (Metric::Cosine, Element::Int8) => given.abs() * 1e-2,
                _ => 0.0,
            };
        assert!((given - found).abs() <= allowed, "{found} was read for {given}, {what}");
    }
}
