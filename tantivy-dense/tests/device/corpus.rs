//! Some documents with vectors in an index that is searched on a device, and what is asked about it.

use std::time::Duration;

use tantivy::indexer::NoMergePolicy;
use tantivy::query::{Query, TermQuery};
use tantivy::schema::{Field, INDEXED, IndexRecordOption};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, Term};
use tantivy_dense::ann::AnnPolicy;
use tantivy_dense::{
    Dense, DenseOptions, Device, DeviceOptions, Element, KnnOutcome, KnnQuery, SearchPath, VectorOptions,
};

use crate::support::{Fixture, clustered, random};

pub const DIMENSION: usize = 16;

pub struct Corpus {
    pub fixture: Fixture,
    /// Holds 2 for documents in one half, 10 in a tenth, and so on.
    pub class: Field,
    pub device: Device,
    pub dense: Dense,
    pub index: Index,
    pub writer: IndexWriter,
    pub reader: IndexReader,
    pub values: Vec<Vec<f32>>,
    pub queries: Vec<Vec<f32>>,
}

/// For every search, however small.
pub fn always() -> DeviceOptions {
    DeviceOptions::default().least_values(0)
}

/// The processor, or what DENSE_TEST_DEVICE names.
pub fn device(options: DeviceOptions) -> Device {
    let name = std::env::var("DENSE_TEST_DEVICE").unwrap_or_else(|_| "host".to_owned());
    let device = Device::named(&name, options).unwrap();
    assert_eq!(device.unavailable(), None);
    device
}

impl Corpus {
    pub fn new(options: VectorOptions, device: Device, policy: AnnPolicy) -> Corpus {
        let mut class = None;
        let fixture = Fixture::with(options, |schema| class = Some(schema.add_u64_field("class", INDEXED)));
        let dense = Dense::with_options(DenseOptions::default().device(device.clone()).ann(policy));
        let index = dense.index_builder().schema(fixture.schema.clone()).create_in_ram().unwrap();
        let writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        // The first operation of a writer must be no deletion.
        writer.run([]).unwrap();
        let reader = dense.reader_builder(&index).reload_policy(ReloadPolicy::Manual).try_into().unwrap();
        let (values, queries) = (Vec::new(), Vec::new());
        Corpus { fixture, class: class.unwrap(), device, dense, index, writer, reader, values, queries }
    }

    /// Each in a segment of its own; every eleventh document has no vector.
    pub fn with_segments(mut self, sizes: &[usize]) -> Corpus {
        let total: usize = sizes.iter().sum();
        self.values = clustered(&mut random(1), total + 10, self.fixture.vector.options().dimension());
        self.queries = self.values.split_off(total);
        let mut id = 0;
        for &size in sizes {
            for _ in 0..size {
                self.add(id);
                id += 1;
            }
            self.writer.commit().unwrap();
        }
        self.reader.reload().unwrap();
        self
    }

    pub fn add(&self, id: u64) {
        let values = &self.values[id as usize % self.values.len()];
        let mut document = self.fixture.document(id, (!id.is_multiple_of(11)).then_some(values));
        for divisor in [2, 10, 100, 1000] {
            if id % divisor == 1 {
                document.add_u64(self.class, divisor);
            }
        }
        self.writer.add_document(document).unwrap();
    }

    pub fn delete(&self, id: u64) {
        self.writer.delete_term(Term::from_field_u64(self.fixture.id, id));
    }

    pub fn knn(&self, query: &[f32], k: usize) -> KnnQuery {
        KnnQuery::new(&self.dense, self.fixture.vector.clone(), query.to_vec(), k)
    }

    pub fn in_class(&self, divisor: u64) -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_u64(self.class, divisor), IndexRecordOption::Basic))
    }

    /// The query's answer, which must be that of the exact search on the processor to the last bit.
    pub fn same(&self, searcher: &Searcher, query: &KnnQuery) -> KnnOutcome {
        let found = query.run(searcher).unwrap();
        let exact = query.clone().exact().on_device(false).run(searcher).unwrap();
        assert_eq!(found.hits, exact.hits, "{query:?}");
        let bits = |found: &KnnOutcome| found.hits.iter().map(|hit| hit.similarity.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&exact), "{query:?}");
        found
    }
}

pub fn on_device(found: &KnnOutcome) -> usize {
    found.segments.iter().filter(|segment| matches!(segment.path, SearchPath::ExactOnDevice(_))).count()
}

/// Waits until so many blocks are on the device: tantivy looks once a second for searchers that are gone.
pub fn wait_for_blocks(device: &Device, blocks: usize) {
    let begun = std::time::Instant::now();
    while device.usage().blocks != blocks {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?} instead of {blocks} blocks", device.usage());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Why the device was not used, for each segment that it was not used for.
pub fn reasons(found: &KnnOutcome) -> Vec<String> {
    found.segments.iter().filter_map(|segment| segment.note.clone()).collect()
}

pub fn all_options() -> Vec<VectorOptions> {
    vec![
        VectorOptions::cosine(DIMENSION),
        VectorOptions::l2(DIMENSION),
        VectorOptions::dot(DIMENSION),
        VectorOptions::cosine(DIMENSION).int8_first_pass(true),
        VectorOptions::cosine(DIMENSION).element(Element::F16),
        VectorOptions::l2(DIMENSION).element(Element::F16),
        VectorOptions::dot(DIMENSION).element(Element::Int8),
        VectorOptions::l2(DIMENSION).element(Element::Int8),
    ]
}
