//! Any search at all.

use proptest::prelude::*;
use rand::RngExt;
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{Metric, SearchPath};

use crate::corpus::{Corpus, DIMENSION, all_options, always, device, on_device};
use crate::support::{assert_hits, brute_force, random, vector};

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the rows, the deletes, the filter and the device's limits: the answer is the exact one, and that of plain
    /// arithmetic.
    #[test]
    fn any_search_on_a_device_is_exact(
        seed in 0_u64..1000,
        kind in 0_usize..8,
        sizes in prop::collection::vec(1_usize..400, 1..4),
        most in prop::sample::select(vec![32_usize, 64, 256, 2048]),
        deleted in 0.0_f64..0.9,
        matching in prop::option::of(prop::sample::select(vec![2_u64, 10, 100])),
        k in 1_usize..60,
        copies in prop::bool::ANY,
        scale in prop::sample::select(vec![1.0_f32, 1e-3, 1e3]),
    ) {
        let device = device(always().most(most));
        let options = all_options().swap_remove(kind);
        let corpus = Corpus::new(options, device, AnnPolicy::never());
        let mut random = random(seed);
        let mut corpus = corpus.with_segments(&sizes);
        for values in &mut corpus.values {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        // Once more, so that there are equal rows, in another segment.
        let total = corpus.values.len() as u64;
        if copies {
            (0..total / 2).for_each(|id| corpus.add(total + id));
            corpus.writer.commit().unwrap();
        }
        (0..total).filter(|_| random.random_bool(deleted)).for_each(|id| corpus.delete(id));
        corpus.writer.commit().unwrap();
        corpus.reader.reload().unwrap();
        let searcher = corpus.reader.searcher();
        for _ in 0..3 {
            let mut query = vector(&mut random, DIMENSION);
            query.iter_mut().for_each(|value| *value *= scale);
            let knn = corpus.knn(&query, k);
            let knn = matching.map_or(knn.clone(), |divisor| knn.filter(corpus.in_class(divisor)));
            let found = corpus.same(&searcher, &knn);
            let used = found.segments.iter().filter(|segment| segment.note.is_none()).count();
            let empty = found.segments.iter().filter(|segment| segment.path == SearchPath::Nothing).count();
            prop_assert_eq!(used, on_device(&found) + empty, "on the device, or a reason");
            if scale == 1.0 || corpus.fixture.vector.options().metric() == Metric::Cosine {
                let matches = |id: u64| matching.is_none_or(|divisor| id % divisor == 1);
                let truth = brute_force(&corpus.fixture, &corpus.dense, &searcher, &query, matches);
                assert_hits(&corpus.fixture, &searcher, &found.hits, &truth, k, "any search");
            }
        }
        let many: Vec<Vec<f32>> = (0..20).map(|_| vector(&mut random, DIMENSION)).collect();
        let knn = corpus.knn(&many[0], k);
        let together = knn.search_batch(&searcher, &many).unwrap();
        let exact = knn.exact().on_device(false).search_batch(&searcher, &many).unwrap();
        prop_assert_eq!(together, exact);
    }
}
