//! What the tests share: random vectors, and the plain answer that searches are held against.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tantivy::schema::{FAST, Field, INDEXED, STORED, Schema, SchemaBuilder, Value};
use tantivy::{DocAddress, Searcher, TantivyDocument};
use tantivy_dense::{Dense, Hit, Metric, VectorField, VectorOptions};

pub fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A vector with values from -1 to 1.
pub fn vector(random: &mut impl Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Vectors in clusters of different sizes, as embeddings lie: a centre, and noise in a few directions that all clusters
/// share, and in all directions a little.
pub struct Clusters {
    random: ChaCha8Rng,
    centres: Vec<Vec<f32>>,
    directions: Vec<Vec<f32>>,
}

impl Clusters {
    pub fn new(seed: u64, dimension: usize) -> Clusters {
        let mut random = random(seed);
        let centres = (0..100).map(|_| vector(&mut random, dimension)).collect();
        let directions = (0..dimension.div_ceil(4)).map(|_| vector(&mut random, dimension)).collect();
        Clusters { random, centres, directions }
    }

    pub fn vector(&mut self) -> Vec<f32> {
        // The first clusters are the largest.
        let place: f32 = self.random.random();
        let mut vector = self.centres[(place * place * self.centres.len() as f32) as usize].clone();
        for direction in &self.directions {
            let factor = self.random.random_range(-0.6..0.6);
            vector.iter_mut().zip(direction).for_each(|(value, along)| *value += factor * along);
        }
        vector.iter_mut().for_each(|value| *value += self.random.random_range(-0.1..0.1));
        vector
    }
}

/// Vectors in clusters, as embeddings lie, in an order that mixes the clusters.
pub fn clustered(random: &mut impl Rng, count: usize, dimension: usize) -> Vec<Vec<f32>> {
    let clusters = (count as f64).sqrt() as usize / 2 + 1;
    let centres: Vec<Vec<f32>> = (0..clusters).map(|_| vector(random, dimension)).collect();
    let mut near = |at: usize| -> Vec<f32> {
        centres[at].iter().map(|centre| centre + 0.5 * random.random_range(-1.0..1.0)).collect()
    };
    (0..count).map(|at| near((at * at + at / 3) % clusters)).collect()
}

/// A schema with a number that identifies a document, and a vector.
pub struct Fixture {
    pub id: Field,
    pub vector: VectorField,
    pub schema: Schema,
}

impl Fixture {
    pub fn new(options: VectorOptions) -> Fixture {
        Fixture::with(options, |_| ())
    }

    pub fn with(options: VectorOptions, more: impl FnOnce(&mut SchemaBuilder)) -> Fixture {
        let mut schema = Schema::builder();
        let id = schema.add_u64_field("id", INDEXED | STORED | FAST);
        let vector = VectorField::add_to(&mut schema, "vector", options).unwrap();
        more(&mut schema);
        Fixture { id, vector, schema: schema.build() }
    }

    pub fn document(&self, id: u64, vector: Option<&[f32]>) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_u64(self.id, id);
        if let Some(vector) = vector {
            self.vector.add(&mut document, vector).unwrap();
        }
        document
    }

    /// The number of the document at an address.
    pub fn id_at(&self, searcher: &Searcher, address: DocAddress) -> u64 {
        let document: TantivyDocument = searcher.doc(address).unwrap();
        document.get_first(self.id).and_then(|value| value.as_u64()).unwrap()
    }

    /// Where each live document is.
    pub fn addresses(&self, searcher: &Searcher) -> BTreeMap<u64, DocAddress> {
        let mut addresses = BTreeMap::new();
        for (ordinal, reader) in (0..).zip(searcher.segment_readers()) {
            let ids = reader.fast_fields().u64("id").unwrap();
            for doc in reader.doc_ids_alive() {
                let id = ids.first(doc).unwrap();
                let before = addresses.insert(id, DocAddress::new(ordinal, doc));
                assert_eq!(before, None, "document {id} is there twice");
            }
        }
        addresses
    }
}

/// Similarity in double precision.
pub fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::L2 => -a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>(),
    }
}

/// The similarity of every live document that has a vector, as the vector is kept, best first.
pub fn brute_force(
    fixture: &Fixture,
    dense: &Dense,
    searcher: &Searcher,
    query: &[f32],
    matches: impl Fn(u64) -> bool,
) -> Vec<(u64, f64)> {
    let metric = fixture.vector.options().metric();
    let mut all: Vec<(u64, f64)> = fixture
        .addresses(searcher)
        .into_iter()
        .filter(|&(id, _)| matches(id))
        .filter_map(|(id, address)| {
            let kept = dense.vector(searcher, &fixture.vector, address).unwrap()?;
            Some((id, similarity(metric, query, &kept)))
        })
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Holds hits against the plain answer: as many, each with its own similarity, and as good rank by rank. Documents
/// whose similarities differ by less than rounding may change places.
pub fn assert_hits(
    fixture: &Fixture,
    searcher: &Searcher,
    hits: &[Hit],
    expected: &[(u64, f64)],
    k: usize,
    what: &str,
) {
    assert_eq!(hits.len(), k.min(expected.len()), "number of hits, {what}");
    let by_id: BTreeMap<u64, f64> = expected.iter().copied().collect();
    let mut seen = std::collections::BTreeSet::new();
    for (rank, (hit, best)) in hits.iter().zip(expected).enumerate() {
        let id = fixture.id_at(searcher, hit.address);
        assert!(seen.insert(id), "document {id} twice, {what}");
        let own = by_id.get(&id).unwrap_or_else(|| panic!("document {id} is no candidate, {what}"));
        let tolerance = 2e-5 * (1.0 + own.abs());
        let similarity = f64::from(hit.similarity);
        assert!((similarity - own).abs() < tolerance, "similarity of {id} is {own}, not {similarity}, {what}");
        assert!((similarity - best.1).abs() < tolerance, "rank {rank}: {similarity} instead of {}, {what}", best.1);
    }
    let sorted =
        hits.is_sorted_by(|a, b| a.similarity > b.similarity || a.similarity == b.similarity && a.address < b.address);
    assert!(sorted, "order of hits, {what}");
}
