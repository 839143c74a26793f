//! Approximate indexes inside segments: built by merges, opened at reload, searched with filters and deletes.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a test")]
#![cfg(feature = "faiss")]

mod support;

use std::collections::BTreeSet;

use support::{Fixture, assert_hits, brute_force, clustered, random};
use tantivy::index::SegmentComponent;
use tantivy::indexer::NoMergePolicy;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, INDEXED, IndexRecordOption};
use tantivy::{Index, IndexReader, IndexWriter, Searcher, Term};
use tantivy_dense::ann::{AnnBuild, AnnPolicy, Similarity};
use tantivy_dense::{Arm, Dense, DenseOptions, Element, Fusion, Hybrid, KnnQuery, Metric, SearchPath, VectorOptions};

const DIMENSION: usize = 16;

struct Corpus {
    fixture: Fixture,
    /// Holds 2 for documents in one half, 10 in a tenth, and so on.
    class: Field,
    dense: Dense,
    index: Index,
    writer: IndexWriter,
    reader: IndexReader,
    queries: Vec<Vec<f32>>,
}

/// Documents in `segments` segments, merged into one each, so that each has an index; every eleventh has no vector.
fn corpus(options: VectorOptions, policy: AnnPolicy, segments: u64, per_segment: u64) -> Corpus {
    corpus_of(options, policy, segments, per_segment, |_| ())
}

/// The same, with the vectors put in an order first.
fn corpus_of(
    options: VectorOptions,
    policy: AnnPolicy,
    segments: u64,
    per_segment: u64,
    order: impl Fn(&mut Vec<Vec<f32>>),
) -> Corpus {
    let mut class = None;
    let fixture = Fixture::with(options, |schema| class = Some(schema.add_u64_field("class", INDEXED)));
    let class = class.unwrap();
    let dense = Dense::with_options(DenseOptions::default().ann(policy));
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let total = segments * per_segment;
    let mut values = clustered(&mut random(1), total as usize + 30, fixture.vector.options().dimension());
    let queries = values.split_off(total as usize);
    order(&mut values);
    let mut done = BTreeSet::new();
    for segment in 0..segments {
        for half in 0..2 {
            for id in (segment * per_segment..(segment + 1) * per_segment).filter(|id| id % 2 == half) {
                let mut document = fixture.document(id, (id % 11 != 0).then_some(&values[id as usize]));
                for divisor in [2, 10, 100] {
                    if id % divisor == 1 {
                        document.add_u64(class, divisor);
                    }
                }
                writer.add_document(document).unwrap();
            }
            writer.commit().unwrap();
        }
        let ids = index.searchable_segment_ids().unwrap();
        let new: Vec<_> = ids.into_iter().filter(|id| !done.contains(id)).collect();
        assert_eq!(new.len(), 2);
        done.insert(writer.merge(&new).wait().unwrap().unwrap().id());
    }
    let reader = dense.reader(&index).unwrap();
    assert_eq!(reader.searcher().segment_readers().len(), segments as usize);
    Corpus { fixture, class, dense, index, writer, reader, queries }
}

impl Corpus {
    fn knn(&self, query: &[f32], k: usize) -> KnnQuery {
        KnnQuery::new(&self.dense, self.fixture.vector.clone(), query.to_vec(), k)
    }

    fn in_class(&self, divisor: u64) -> Box<TermQuery> {
        Box::new(TermQuery::new(Term::from_field_u64(self.class, divisor), IndexRecordOption::Basic))
    }

    /// Mean share of the true ten nearest among the ten found; what is found is checked to be true, and in order.
    fn recall(
        &self,
        searcher: &Searcher,
        ask: impl Fn(KnnQuery) -> KnnQuery,
        matches: impl Fn(u64) -> bool + Copy,
        path: impl Fn(&SearchPath) -> bool,
    ) -> f64 {
        let mut sum = 0.0;
        for query in &self.queries {
            let truth = brute_force(&self.fixture, &self.dense, searcher, query, matches);
            let found = ask(self.knn(query, 10)).run(searcher).unwrap();
            for segment in &found.segments {
                assert!(path(&segment.path), "{segment}");
            }
            assert_eq!(found.hits.len(), truth.len().min(10));
            assert!(found.hits.is_sorted_by(|a, b| (b.similarity, a.address) <= (a.similarity, b.address)));
            let best: BTreeSet<u64> = truth.iter().take(10).map(|(id, _)| *id).collect();
            for hit in &found.hits {
                let id = self.fixture.id_at(searcher, hit.address);
                let own =
                    truth.iter().find(|(other, _)| *other == id).unwrap_or_else(|| panic!("{id} is no candidate"));
                assert!((own.1 - f64::from(hit.similarity)).abs() < 1e-4 * (1.0 + own.1.abs()));
                sum += f64::from(u8::from(best.contains(&id)));
            }
        }
        sum / (10 * self.queries.len()) as f64
    }
}

fn is_index(path: &SearchPath) -> bool {
    matches!(path, SearchPath::Index(_))
}

#[test]
fn merges_build_indexes_and_searches_find_by_them() {
    for (options, factory, least) in [
        (VectorOptions::cosine(DIMENSION), "HNSW16", 0.97),
        (VectorOptions::l2(DIMENSION), "HNSW16", 0.97),
        (VectorOptions::dot(DIMENSION), "IVF16,SQ8", 0.95),
        (VectorOptions::cosine(DIMENSION).element(Element::F16), "HNSW16", 0.97),
        (VectorOptions::l2(DIMENSION).element(Element::Int8), "IVF16,Flat", 0.95),
        (VectorOptions::cosine(DIMENSION).int8_first_pass(true), "IVF16,PQ8x4fs,RFlat", 0.9),
    ] {
        let metric = options.metric();
        let corpus = corpus(options, AnnPolicy::always(factory, 100), 2, 600);
        let searcher = corpus.reader.searcher();
        let infos = corpus.dense.info(&searcher).unwrap();
        for info in &infos {
            let index = info.fields[0].index.as_ref().unwrap();
            assert_eq!((index.factory.as_str(), info.fields[0].unusable.as_ref()), (factory, None));
            assert!(index.file_bytes > 0 && info.file_bytes() > index.file_bytes && info.heap_bytes() > 0);
        }
        for (what, divisor) in [("all", 1), ("half", 2), ("a tenth", 10)] {
            let ask = |query: KnnQuery| if divisor == 1 { query } else { query.filter(corpus.in_class(divisor)) };
            let recall = corpus.recall(&searcher, ask, |id| divisor == 1 || id % divisor == 1, is_index);
            println!("{metric} {factory}, {what}: recall@10 {recall:.3}");
            assert!(recall >= least, "{metric} {factory}, {what}: {recall}");
        }
        let exact = corpus.recall(&searcher, KnnQuery::exact, |_| true, |path| path.is_exact());
        assert!(exact >= 0.999, "{exact}");
        assert!(corpus.index.validate_checksum().unwrap().is_empty());
        corpus.dense.verify(&corpus.index).unwrap();
    }
}

#[test]
fn deleted_documents_are_never_found_and_the_rest_still_is() {
    let mut corpus = corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("HNSW16", 100), 2, 600);
    let before = corpus.reader.searcher();
    for id in (0..1200).filter(|id| id % 3 == 0) {
        corpus.writer.delete_term(Term::from_field_u64(corpus.fixture.id, id));
    }
    corpus.writer.commit().unwrap();
    corpus.reader.reload().unwrap();
    let after = corpus.reader.searcher();
    assert!(corpus.recall(&after, |query| query, |_| true, is_index) >= 0.97);
    // The old searcher still sees them.
    assert_eq!(before.num_docs(), 1200);
    assert!(corpus.recall(&before, |query| query, |_| true, is_index) >= 0.97);
}

#[test]
fn small_rests_are_scanned_and_so_is_what_the_graph_does_not_reach() {
    // With the default cost of a walk, a hundred rows of a filter are scanned.
    let policy = AnnPolicy::always("HNSW16", 100).scan_per_ef(1).ef(64);
    let corpus = corpus(VectorOptions::cosine(DIMENSION), policy, 1, 1000);
    let searcher = corpus.reader.searcher();
    assert!(corpus.recall(&searcher, |query| query, |_| true, is_index) >= 0.97);
    let ask = |query: KnnQuery| query.filter(corpus.in_class(10));
    assert!(corpus.recall(&searcher, ask, |id| id % 10 == 1, |path| *path == SearchPath::Exact) >= 0.999);
    let found = ask(corpus.knn(&corpus.queries[0], 10)).run(&searcher).unwrap();
    let note = found.segments[0].note.as_deref().unwrap();
    assert!(note.contains("sooner done than searching HNSW16"), "{note}");

    // More hits than the walk has candidates to offer: the segment is scanned after all, and the answer complete.
    let corpus = self::corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("IVF64,Flat", 100), 1, 1000);
    let searcher = corpus.reader.searcher();
    let query = &corpus.queries[0];
    let found = corpus.knn(query, 400).nprobe(1).run(&searcher).unwrap();
    assert_eq!(found.segments[0].path, SearchPath::Exact);
    assert!(found.segments[0].note.as_deref().unwrap().contains("rows of 400"), "{:?}", found.segments);
    let truth = brute_force(&corpus.fixture, &corpus.dense, &searcher, query, |_| true);
    assert_hits(&corpus.fixture, &searcher, &found.hits, &truth, 400, "after an index that came up short");
}

#[test]
fn breadth_is_the_querys_choice() {
    let corpus = corpus(VectorOptions::l2(DIMENSION), AnnPolicy::always("HNSW16", 100), 1, 1500);
    let searcher = corpus.reader.searcher();
    let mut before = 0;
    for ef in [10, 40, 160] {
        let mut distances = 0;
        for query in &corpus.queries {
            let found = corpus.knn(query, 10).ef(ef).run(&searcher).unwrap();
            let SearchPath::Index(how) = &found.segments[0].path else { panic!("{}", found.segments[0]) };
            assert_eq!((how.ef, how.nprobe), (Some(ef), None));
            distances += how.distances;
        }
        assert!(distances > before, "ef {ef}: {distances} distances");
        before = distances;
    }
    assert!(corpus.recall(&searcher, |query| query.ef(1500), |_| true, is_index) >= 0.99);
    for wrong in [corpus.knn(&corpus.queries[0], 3).ef(0), corpus.knn(&corpus.queries[0], 3).nprobe(0)] {
        assert!(wrong.search(&searcher).unwrap_err().to_string().contains("1 or more"));
    }
    for factor in [0.5, f32::NAN, f32::INFINITY] {
        assert!(corpus.knn(&corpus.queries[0], 3).oversample(factor).search(&searcher).is_err());
    }

    let corpus = self::corpus(VectorOptions::l2(DIMENSION), AnnPolicy::always("IVF32,SQ8", 100), 1, 1500);
    let searcher = corpus.reader.searcher();
    let few = corpus.recall(&searcher, |query| query.nprobe(3), |_| true, is_index);
    let all = corpus.recall(&searcher, |query| query.nprobe(32).oversample(5.0), |_| true, is_index);
    assert!(few < all && all >= 0.99, "{few} {all}");
}

#[test]
fn many_segments_answer_as_one() {
    let corpus = corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("HNSW16", 50), 6, 300);
    let searcher = corpus.reader.searcher();
    assert!(corpus.recall(&searcher, |query| query, |_| true, is_index) >= 0.97);
    // All hits in one segment: the part of them that it is asked for first is not enough.
    let query = &corpus.queries[1];
    for k in [100, 500] {
        let truth = brute_force(&corpus.fixture, &corpus.dense, &searcher, query, |_| true);
        let found = corpus.knn(query, k).run(&searcher).unwrap();
        let best: BTreeSet<u64> = truth.iter().take(k).map(|(id, _)| *id).collect();
        let hits: BTreeSet<u64> = found.hits.iter().map(|hit| corpus.fixture.id_at(&searcher, hit.address)).collect();
        let recall = best.intersection(&hits).count() as f64 / k as f64;
        assert!(hits.len() == k && recall >= 0.95, "k {k}: {recall} of {} hits", hits.len());
    }
}

/// Documents of one kind came together, so that nearly all hits of a query are in one segment of eight.
#[test]
fn a_segment_with_more_than_its_share_of_the_hits_is_searched_again_for_all() {
    let sort = |values: &mut Vec<Vec<f32>>| values.sort_by(|a, b| (a[0] + a[1]).total_cmp(&(b[0] + b[1])));
    let corpus = corpus_of(VectorOptions::l2(4), AnnPolicy::always("HNSW8", 50), 8, 300, sort);
    let searcher = corpus.reader.searcher();
    let recall = corpus.recall(&searcher, |query| query.ef(64), |_| true, is_index);
    assert!(recall >= 0.97, "{recall}");
    let mut again = 0;
    for query in &corpus.queries {
        let found = corpus.knn(query, 10).ef(64).run(&searcher).unwrap();
        let efs: Vec<_> = found
            .segments
            .iter()
            .map(|segment| match &segment.path {
                SearchPath::Index(how) => how.ef.unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        again += efs.iter().filter(|&&ef| ef == 64).count();
    }
    assert!((1..corpus.queries.len() * 4).contains(&again), "{again}");
}

#[test]
fn batches_answer_as_single_searches_do() {
    for policy in [AnnPolicy::never(), AnnPolicy::always("HNSW16", 100)] {
        for options in [
            VectorOptions::cosine(DIMENSION),
            VectorOptions::l2(DIMENSION).element(Element::F16),
            VectorOptions::dot(DIMENSION).element(Element::Int8),
            VectorOptions::l2(DIMENSION).int8_first_pass(true),
        ] {
            let mut corpus = corpus(options, policy.clone(), 2, 400);
            for threads in [1, 2] {
                if threads > 1 {
                    corpus.index.set_multithread_executor(threads).unwrap();
                }
                let reader = corpus.dense.reader(&corpus.index).unwrap();
                let searcher = reader.searcher();
                for filter in [None, Some(2), Some(10)] {
                    let ask = |query: &[f32]| match filter {
                        Some(divisor) => corpus.knn(query, 7).filter(corpus.in_class(divisor)),
                        None => corpus.knn(query, 7),
                    };
                    let together = ask(&[]).run_batch(&searcher, &corpus.queries).unwrap();
                    assert_eq!(together.len(), corpus.queries.len());
                    for (query, found) in corpus.queries.iter().zip(&together) {
                        assert_eq!(found, &ask(query).run(&searcher).unwrap());
                    }
                }
                let none: [Vec<f32>; 0] = [];
                assert_eq!(corpus.knn(&[], 7).search_batch(&searcher, &none).unwrap(), Vec::<Vec<_>>::new());
                assert!(corpus.knn(&[], 7).search_batch(&searcher, &[vec![1.0]]).is_err());
            }
        }
    }
}

#[test]
fn fields_choose_their_own_indexes() {
    let policy = AnnPolicy::always("HNSW8", 100);
    let factory = |options: VectorOptions, policy: &AnnPolicy| {
        let corpus = corpus(options, policy.clone(), 1, 400);
        let info = corpus.dense.info(&corpus.reader.searcher()).unwrap();
        info[0].fields[0].index.as_ref().map(|index| index.factory.clone())
    };
    let options = VectorOptions::new(Metric::Dot, DIMENSION);
    assert_eq!(factory(options.clone(), &policy).as_deref(), Some("HNSW8"));
    assert_eq!(factory(options.clone().index("IVF8,SQ8"), &policy).as_deref(), Some("IVF8,SQ8"));
    assert_eq!(factory(options.clone().index("none"), &policy), None);
    assert_eq!(factory(options.clone(), &AnnPolicy::default()), None, "four hundred rows are scanned");
    let mut schema = tantivy::schema::Schema::builder();
    let error = tantivy_dense::VectorField::add_to(&mut schema, "v", options.index("HNWS32")).unwrap_err();
    assert!(error.to_string().contains("HNWS32"), "{error}");
}

/// The limit on memory is held against the rows that there are, not against the documents.
#[test]
fn a_field_that_few_documents_have_is_indexed_within_the_limit() {
    let fixture = Fixture::new(VectorOptions::l2(DIMENSION));
    let max_build_bytes = AnnBuild::new("HNSW8", Similarity::SquaredL2, DIMENSION).memory_bytes(200);
    let policy = AnnPolicy::always("HNSW8", 100).max_build_bytes(max_build_bytes);
    let dense = Dense::with_options(DenseOptions::default().ann(policy));
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let values = clustered(&mut random(1), 200, DIMENSION);
    for id in 0..400 {
        let vector = (id % 2 == 0).then(|| values[id as usize / 2].as_slice());
        writer.add_document(fixture.document(id, vector)).unwrap();
        if id % 200 == 199 {
            writer.commit().unwrap();
        }
    }
    writer.merge(&index.searchable_segment_ids().unwrap()).wait().unwrap();
    let info = dense.info(&dense.reader(&index).unwrap().searcher()).unwrap();
    assert_eq!(info[0].fields[0].rows, 200);
    assert_eq!(info[0].fields[0].index.as_ref().map(|index| index.factory.as_str()), Some("HNSW8"));
}

/// The policy asks for an index that cannot be trained on so few rows: the merge succeeds, without an index.
#[test]
fn an_index_that_cannot_be_built_costs_no_merge() {
    let corpus = corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("IVF4096,Flat", 100), 1, 300);
    let searcher = corpus.reader.searcher();
    assert!(corpus.dense.info(&searcher).unwrap()[0].fields[0].index.is_none());
    assert!(corpus.recall(&searcher, |query| query, |_| true, |path| *path == SearchPath::Exact) >= 0.999);
}

#[test]
fn space_usage_names_both_files() {
    let corpus = corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("HNSW8", 100), 1, 300);
    let searcher = corpus.reader.searcher();
    let usage = searcher.space_usage().unwrap();
    let segment = &usage.segments()[0];
    let bytes = |component: &str| segment.component(SegmentComponent::Custom(component.to_owned())).total().get_bytes();
    let (rows, index) = (bytes("vec"), bytes("ann"));
    let info = &corpus.dense.info(&searcher).unwrap()[0].fields[0];
    // A footer, a table of contents, some padding.
    assert!((info.rows_bytes..info.rows_bytes + 2000).contains(&rows), "{rows} {info:?}");
    let blob = info.index.as_ref().unwrap().file_bytes;
    assert!((blob..blob + 1000).contains(&index), "{index} {info:?}");
    assert!(usage.total().get_bytes() > rows + index);
}

/// The rows are the truth: whatever happened to the file of indexes, the answer is right, and the reason is told.
#[test]
fn an_index_that_cannot_be_used_is_reported_and_its_rows_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(VectorOptions::cosine(DIMENSION));
    let policy = || DenseOptions::default().ann(AnnPolicy::always("HNSW16", 100));
    let dense = Dense::with_options(policy());
    let index = dense.index_builder().schema(fixture.schema.clone()).create_in_dir(folder.path()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    let values = clustered(&mut random(1), 300, DIMENSION);
    for (id, values) in (0..).zip(&values) {
        writer.add_document(fixture.document(id, Some(values))).unwrap();
        if id % 150 == 149 {
            writer.commit().unwrap();
        }
    }
    writer.merge(&index.searchable_segment_ids().unwrap()).wait().unwrap();
    drop(writer);
    let ann = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let ann: Vec<_> = ann.filter(|path| path.extension().is_some_and(|extension| extension == "ann")).collect();
    let [ann] = ann.as_slice() else { panic!("{ann:?}") };
    let whole = std::fs::read(ann).unwrap();

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let table = whole.windows(8).rposition(|bytes| bytes == b"TDENSANN").unwrap();
    let mut newer = whole.clone();
    newer[table - 8] = 9;
    let checksum = crc32fast::hash(&newer[table - 28..table - 4]);
    newer[table - 4..table].copy_from_slice(&checksum.to_le_bytes());
    for (bytes, reason) in [
        (Some(whole.clone()), None),
        (Some(flipped), Some("checksum is wrong")),
        (Some(newer), Some("format version 9")),
        (Some(whole[..whole.len() - 200].to_vec()), Some("")),
        (Some(Vec::new()), Some("")),
        (None, None),
    ] {
        let present = bytes.is_some();
        match bytes {
            Some(bytes) => std::fs::write(ann, bytes).unwrap(),
            None => std::fs::remove_file(ann).unwrap(),
        }
        // As another program that starts.
        let dense = Dense::with_options(policy());
        let index = dense.open_index(tantivy::directory::MmapDirectory::open(folder.path()).unwrap()).unwrap();
        let searcher = dense.reader(&index).unwrap().searcher();
        let field = &dense.info(&searcher).unwrap()[0].fields[0];
        let found = KnnQuery::new(&dense, fixture.vector.clone(), values[7].clone(), 10).run(&searcher).unwrap();
        let truth = brute_force(&fixture, &dense, &searcher, &values[7], |_| true);
        match reason {
            None if present => {
                assert!(field.index.is_some() && is_index(&found.segments[0].path));
                dense.verify(&index).unwrap();
            }
            reason => {
                assert!(field.index.is_none() && found.segments[0].path == SearchPath::Exact);
                assert_eq!(field.unusable, found.segments[0].note);
                assert_eq!(field.unusable.is_some(), reason.is_some());
                assert_eq!(dense.verify(&index).is_err(), reason.is_some());
                if let (Some(told), Some(reason)) = (&field.unusable, reason) {
                    assert!(told.contains(reason), "{told}");
                }
                assert_hits(&fixture, &searcher, &found.hits, &truth, 10, &format!("{reason:?}"));
            }
        }
    }
}

/// A graph misses a few of the nearest, and other ones when it is asked for more: pages must be one ranking all the same, and reach
/// every document that has a vector.
#[test]
fn pages_over_a_graph_show_each_document_once() {
    let corpus = corpus(VectorOptions::cosine(DIMENSION), AnnPolicy::always("HNSW4", 50), 3, 400);
    let searcher = corpus.reader.searcher();
    for (at, query) in corpus.queries.iter().take(6).enumerate() {
        let near = Arm::vector(corpus.knn(query, 1).ef(1));
        let hybrid = match at % 2 {
            0 => Hybrid::new().arm("near", near, 1.0).fusion(Fusion::Sum),
            _ => Hybrid::new().arm("near", near, 0.5).arm("class", Arm::text(corpus.in_class(10)), 0.5),
        };
        let hybrid = hybrid.window(13);
        let all = hybrid.search(&searcher, usize::MAX).unwrap();
        let mut pages = Vec::new();
        for size in [5, 1, 20, 8].into_iter().cycle() {
            let page = hybrid.page(&searcher, pages.len(), size).unwrap();
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages, all);
        let found: BTreeSet<u64> = all.iter().map(|hit| corpus.fixture.id_at(&searcher, hit.address)).collect();
        assert_eq!(found.len(), all.len());
        let with_vector = (0..1200).filter(|id| id % 11 != 0);
        assert!(with_vector.into_iter().all(|id| found.contains(&id)));
        // Where words have a say, the first may be one that the graph did not find. A graph that finds too few is followed by an
        // exact search, and the report says both.
        let nearest = all.iter().find(|hit| hit.arms[0].rank == Some(1)).unwrap();
        let nearest = hybrid.explain(&searcher, nearest).unwrap().to_pretty_json();
        assert!(at % 2 == 1 || nearest.contains("HNSW4"), "{nearest}");
        let last = hybrid.explain(&searcher, &all[all.len() - 1]).unwrap().to_pretty_json();
        assert!(last.contains("beyond the 13 best of each arm"), "{last}");
    }
}
