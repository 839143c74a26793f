//! Tests of mining: the choice by hand and by property, then the whole with a small corpus, stopped and resumed.

use super::mined_file::MinedFile;
use super::*;
use proptest::prelude::*;

fn passages(texts: &[&str]) -> Passages {
    Passages {
        ids: (0..texts.len()).map(|i| format!("p{i}")).collect(),
        titles: vec![String::new(); texts.len()],
        texts: texts.iter().map(|t| (*t).to_owned()).collect(),
    }
}

fn query(id: &str, text: &str, positives: &[u32]) -> TrainQuery {
    TrainQuery {
        id: id.to_owned(),
        text: text.to_owned(),
        positives: positives.to_vec(),
        negatives: vec![],
        scores: None,
        ..TrainQuery::default()
    }
}

#[test]
fn positives_and_equal_texts_leave_and_ranks_close_up() {
    let corpus = passages(&["the answer", "The  answer", "near", "what is it", "far", "near"]);
    let texts = TextHashes::of(&corpus);
    let config = MineConfig::default();
    let bm25 = [(0, 9.0), (1, 8.0), (2, 7.0), (5, 6.5), (4, 6.0)];
    let dense = [(3, 0.9), (0, 0.8), (4, 0.5), (2, 0.4)];
    let similarity: HashMap<u32, f32> = dense.iter().copied().collect();
    let (candidates, removed) =
        choose(&config, &query("q", "What is it", &[0]), &texts, &bm25, &dense, &similarity, Some(0.8));
    // 1 is the positive's text, 3 the query's own, 5 is 2 again; 2 and 4 are left.
    let found: Vec<_> = candidates.iter().map(|c| (c.passage, c.bm25, c.dense_rank, c.similarity)).collect();
    assert_eq!(found, [(4, Some((2, 6.0)), Some(1), Some(0.5)), (2, Some((1, 7.0)), Some(2), Some(0.4))]);
    assert_eq!(removed, Removed { positive: 1, identical: 3, ..Removed::default() });
}

#[test]
fn windows_and_filters() {
    let corpus = passages(&["a", "b", "c", "d", "e", "f"]);
    let texts = TextHashes::of(&corpus);
    let dense: Vec<(u32, f32)> = vec![(1, 0.95), (0, 0.9), (2, 0.85), (3, 0.6), (4, 0.5), (5, 0.1)];
    let similarity: HashMap<u32, f32> = dense.iter().copied().collect();
    let mined = |config: MineConfig| {
        let (candidates, removed) =
            choose(&config, &query("q", "?", &[0]), &texts, &[], &dense, &similarity, Some(0.9));
        (candidates.iter().map(|c| c.passage).collect::<Vec<_>>(), removed)
    };
    let base = MineConfig { bm25: false, ..MineConfig::default() };
    assert_eq!(mined(base.clone()).0, [1, 2, 3, 4, 5]);
    assert_eq!(mined(MineConfig { from_rank: 2, to_rank: 3, ..base.clone() }).0, [2, 3]);
    assert_eq!(mined(MineConfig { keep: 2, ..base.clone() }).0, [1, 2]);
    let (left, removed) = mined(MineConfig { margin: Some(0.1), ..base.clone() });
    assert_eq!((left, removed.margin), (vec![3, 4, 5], 2));
    let (left, removed) = mined(MineConfig { ceiling: Some(0.9), ..base.clone() });
    assert_eq!((left, removed.ceiling), (vec![2, 3, 4, 5], 1));
    // 0.95 * 0.9 = 0.855
    assert_eq!(mined(MineConfig { relative_ceiling: Some(0.95), ..base }).0, [2, 3, 4, 5]);
}

#[test]
fn wrong_settings_are_named() {
    let problem = |edit: fn(&mut MineConfig)| {
        let mut config = MineConfig::default();
        edit(&mut config);
        config.problem().unwrap_or_default()
    };
    assert_eq!(problem(|_| ()), "");
    assert!(problem(|c| (c.bm25, c.dense) = (false, false)).contains("nothing to mine with"));
    assert!(problem(|c| c.from_rank = 300).contains("300..=200"));
    assert!(problem(|c| (c.dense, c.margin) = (false, Some(0.1))).contains("`margin`"));
    assert!(problem(|c| c.ceiling = Some(f32::NAN)).contains("`ceiling`"));
    assert!(problem(|c| c.writer_mb = 1).contains("`writer_mb`"));
    assert!(problem(|c| c.chunk = 0).contains("`chunk`"));
}

/// 40 passages about 8 subjects and 16 queries; a subject's vector is its axis, tilted a little passage by passage.
fn small_world() -> (Passages, Vec<TrainQuery>, VectorTable) {
    let subjects = ["apple", "bridge", "candle", "dragon", "engine", "forest", "guitar", "harbour"];
    let mut texts = Vec::new();
    let mut table = VectorTable { dimension: 8, fingerprint: "axes-1".to_owned(), passages: vec![], queries: vec![] };
    let axis =
        |subject: usize, tilt: f32| (0..8).map(move |i| if i == subject { 1.0 - tilt } else { tilt * i as f32 * 0.01 });
    for i in 0..40usize {
        texts.push(format!("number {i} tells of the {} at length", subjects[i % 8]));
        table.passages.extend(axis(i % 8, (i / 8) as f32 * 0.1));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut queries = Vec::new();
    for i in 0..16usize {
        let positive = (i % 8 + 8 * (i / 8)) as u32;
        queries.push(query(&format!("q{i}"), &format!("tell me of a {}?", subjects[i % 8]), &[positive]));
        table.queries.extend(axis(i % 8, 0.0));
    }
    (passages(&texts), queries, table)
}

fn run(
    folder: &Path,
    config: &MineConfig,
    world: &mut (Passages, Vec<TrainQuery>, VectorTable),
    stop_after: Option<usize>,
) -> (Result<MinedFile, TrainError>, Vec<MineProgress>) {
    let stop = AtomicBool::new(false);
    let mut heard = Vec::new();
    let mut progress = |p: MineProgress| {
        heard.push(p);
        if let (MineProgress::Search(done, _), Some(limit)) = (p, stop_after)
            && done >= limit
        {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let mut around = Surroundings { folder, stop: &stop, progress: &mut progress };
    let file = mine(config, &world.0, &world.1, Some(&mut world.2), &mut around);
    (file, heard)
}

#[test]
fn both_arms_find_the_subject_and_a_stopped_run_goes_on() {
    let mut world = small_world();
    let config = MineConfig { to_rank: 6, chunk: 4, ..MineConfig::default() };
    let whole = tempfile::tempdir().unwrap();
    let (file, _) = run(whole.path(), &config, &mut world, None);
    let file = file.unwrap();
    assert_eq!((file.done(), file.state()), (16, MinedState::Finished));
    let mined = read(file.path(), &world.0).unwrap();
    for (place, (query, mined)) in world.1.iter().zip(&mined).enumerate() {
        assert_eq!(query.id, mined.query);
        let positive = query.positives[0];
        assert!(mined.candidates.iter().all(|c| c.passage != positive));
        assert_eq!(mined.removed.positive, 1);
        // The four other passages of the subject come first in both arms.
        let first: HashSet<u32> = mined.candidates[..4].iter().map(|c| c.passage).collect();
        let subject: HashSet<u32> = (0..40).filter(|p| *p as usize % 8 == place % 8 && *p != positive).collect();
        assert_eq!(first, subject, "{mined:?}");
        assert!(mined.candidates[..4].iter().all(|c| c.bm25.is_some() && c.dense_rank.is_some()));
        assert!(mined.candidates.iter().all(|c| c.similarity.is_some()));
        let expected = world.2.passages[positive as usize * 8 + place % 8];
        assert!((mined.positive_similarity.unwrap() - expected).abs() < 1e-5);
    }

    // Stopped after 8 queries, then gone on with: the same bytes, and the index is not made again.
    let parts = tempfile::tempdir().unwrap();
    let (stopped, _) = run(parts.path(), &config, &mut world, Some(8));
    assert!(matches!(stopped, Err(TrainError::Interrupted)));
    let error = read(&parts.path().join("mined.jsonl"), &world.0).unwrap_err().to_string();
    assert!(error.contains("not finished"), "{error}");
    let (resumed, heard) = run(parts.path(), &config, &mut world, None);
    let resumed = resumed.unwrap();
    assert_eq!(heard[0], MineProgress::Search(8, 16));
    assert_eq!(std::fs::read(resumed.path()).unwrap(), std::fs::read(file.path()).unwrap());
    // A third time there is nothing to do.
    assert!(run(parts.path(), &config, &mut world, None).1.is_empty());

    // Another model or other settings begin anew.
    world.2.fingerprint = "axes-2".to_owned();
    let (again, heard) = run(parts.path(), &config, &mut world, None);
    assert!(again.unwrap().notes()[0].contains("another model"));
    assert!(matches!(heard[0], MineProgress::Index(..)));
}

#[test]
fn bm25_alone_needs_no_vectors_and_dense_does() {
    let (corpus, queries, _) = small_world();
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut around = Surroundings { folder: folder.path(), stop: &stop, progress: &mut |_| () };
    let error = mine(&MineConfig::default(), &corpus, &queries, None, &mut around).unwrap_err().to_string();
    assert!(error.contains("needs the student's vectors"), "{error}");
    let config = MineConfig { dense: false, ..MineConfig::default() };
    let mined = mine(&config, &corpus, &queries, None, &mut around).unwrap();
    let mined = read(mined.path(), &corpus).unwrap();
    // Every passage has the word "of", which every query has too.
    assert!(mined.iter().all(|m| m.candidates.len() == 39 && m.positive_similarity.is_none()));
    assert!(mined[0].candidates.iter().all(|c| c.similarity.is_none() && c.dense_rank.is_none()));
}

#[test]
fn vectors_of_the_wrong_shape_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = small_world();
    world.2.passages[3] = f32::NAN;
    let error = run(folder.path(), &MineConfig::default(), &mut world, None).0.unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    world.2.passages.truncate(100);
    let error = run(folder.path(), &MineConfig::default(), &mut world, None).0.unwrap_err().to_string();
    assert!(error.contains("ends before row"), "{error}");
}

#[test]
fn a_torn_product_goes_on_and_a_damaged_or_foreign_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = small_world();
    let config = MineConfig::default();
    let path = run(folder.path(), &config, &mut world, None).0.unwrap().path().to_owned();
    let good = std::fs::read(&path).unwrap();
    for cut in (0..good.len()).step_by(997).chain([3, good.len() - 1]) {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(read(&path, &world.0).is_err());
        let (mined, _) = run(folder.path(), &config, &mut world, None);
        assert_eq!(mined.unwrap().done(), 16);
        assert_eq!(std::fs::read(&path).unwrap(), good, "cut at {cut}");
    }
    let mut bad = good.clone();
    let place = good.len() / 2;
    bad[place] = if bad[place] == b'1' { b'2' } else { b'1' };
    std::fs::write(&path, &bad).unwrap();
    assert!(read(&path, &world.0).unwrap_err().to_string().contains("mined.jsonl"));
    for foreign in ["hello\n", "{\"sum\":\"no\"}\n"] {
        std::fs::write(&path, foreign).unwrap();
        assert!(read(&path, &world.0).is_err());
    }
    std::fs::write(&path, "my notes\n").unwrap();
    let error = run(folder.path(), &config, &mut world, None).0.unwrap_err().to_string();
    assert!(error.contains("not a file of mined passages"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"my notes\n");
    // A later version is left alone as well.
    let row = "{\"format\":\"adam-mined\",\"version\":2,\"key\":\"k\"}";
    let later = format!("{{\"sum\":\"{:08x}\",\"row\":{row}}}\n", crc32fast::hash(row.as_bytes()));
    std::fs::write(&path, &later).unwrap();
    let error = run(folder.path(), &config, &mut world, None).0.unwrap_err().to_string();
    assert!(error.contains("format version 2"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
}

fn ranking() -> impl Strategy<Value = Vec<(u32, f32)>> {
    prop::collection::vec((0u32..30, 0f32..1.0), 0..40).prop_map(|mut hits| {
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut seen = HashSet::new();
        hits.retain(|(passage, _)| seen.insert(*passage));
        hits
    })
}

proptest! {
    #[test]
    fn no_candidate_breaks_a_rule(
        bm25 in ranking(), dense in ranking(), positives in prop::collection::vec(0u32..30, 1..3), from_rank in 1usize..5,
        width in 0usize..20, keep in 1usize..50, margin in prop::option::of(0f32..0.5), ceiling in prop::option::of(0f32..1.0),
    ) {
        // Passages i and i + 20 have the same text.
        let words: Vec<String> = (0..30).map(|i| format!("text {}", i % 20)).collect();
        let corpus = passages(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let texts = TextHashes::of(&corpus);
        let config = MineConfig { from_rank, to_rank: from_rank + width, keep, margin, ceiling, ..MineConfig::default() };
        let similarity: HashMap<u32, f32> = dense.iter().copied().collect();
        let best = positives.iter().filter_map(|p| similarity.get(p)).copied().reduce(f32::max);
        let query = query("q", "question", &positives);
        let (candidates, _) = choose(&config, &query, &texts, &bm25, &dense, &similarity, best);
        prop_assert!(candidates.len() <= keep);
        let mut seen = HashSet::new();
        for candidate in &candidates {
            prop_assert!(seen.insert(candidate.passage % 20), "two of the same text");
            prop_assert!(positives.iter().all(|p| p % 20 != candidate.passage % 20));
            prop_assert!(candidate.bm25.is_some() || candidate.dense_rank.is_some());
            for rank in candidate.bm25.map(|b| b.0).into_iter().chain(candidate.dense_rank) {
                prop_assert!((from_rank..=from_rank + width).contains(&(rank as usize)));
            }
            if let Some(s) = candidate.similarity {
                prop_assert!(ceiling.is_none_or(|c| s <= c));
                prop_assert!(margin.is_none_or(|m| best.is_none_or(|b| s <= b - m)));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_product_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), row in ".{0,80}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mined.jsonl");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(read(&path, &Passages::default()).is_err());
        let sum = crc32fast::hash(row.as_bytes());
        std::fs::write(&path, format!("{{\"sum\":\"{sum:08x}\",\"row\":{row}}}\n")).unwrap();
        prop_assert!(read(&path, &Passages::default()).is_err());
    }
}
