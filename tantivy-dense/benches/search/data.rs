//! Vectors that lie as embeddings do: in clusters of uneven sizes, spread in fewer directions than they have values.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLUSTERS: usize = 1000;
/// Directions that a cluster spreads in.
const LATENT: usize = 48;

/// Rows and queries of one make, of length 1.
pub struct Data {
    pub dimension: usize,
    pub rows: Vec<f32>,
    pub queries: Vec<Vec<f32>>,
}

pub const HOW: &str = "1,000 clusters around normal centres, of sizes as 1 / (20 + rank); a row is its centre, plus normal \
     noise in 48 random directions that all clusters share, as long as the centre in expectation, plus normal noise in every \
     direction, a tenth of that; normalised. Queries are made the same way and are no rows.";

/// Quick normal numbers: the sum of eight bytes' worth of uniform ones.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bytes = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
        // Eight uniform numbers from 0 to 255: mean 1020, deviation 209.
        (sum as f32 - 1020.0) / 209.0
    }
}

impl Data {
    pub fn new(rows: usize, dimension: usize, queries: usize) -> Data {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut normal = Normal(0x9E37_79B9_7F4A_7C15);
        let centres: Vec<f32> = (0..CLUSTERS * dimension).map(|_| normal.next()).collect();
        let directions: Vec<f32> = (0..LATENT * dimension).map(|_| normal.next() / (LATENT as f32).sqrt()).collect();
        let sizes: Vec<f32> = (0..CLUSTERS).map(|rank| 1.0 / (20.0 + rank as f32)).collect();
        let ends: Vec<f32> = sizes
            .iter()
            .scan(0.0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect();
        let all = ends.last().copied().unwrap_or(1.0);
        let mut make = || {
            let place = random.random_range(0.0..all);
            let cluster = ends.partition_point(|&end| end < place).min(CLUSTERS - 1);
            let mut row = centres[cluster * dimension..][..dimension].to_vec();
            for direction in directions.chunks_exact(dimension) {
                let factor = normal.next();
                row.iter_mut().zip(direction).for_each(|(value, along)| *value += factor * along);
            }
            row.iter_mut().for_each(|value| *value += 0.1 * normal.next());
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value /= length);
            row
        };
        let mut values = Vec::with_capacity(rows * dimension);
        (0..rows).for_each(|_| values.extend(make()));
        let queries = (0..queries).map(|_| make()).collect();
        Data { dimension, rows: values, queries }
    }

    pub fn len(&self) -> usize {
        self.rows.len() / self.dimension
    }

    pub fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.dimension..][..self.dimension]
    }
}

/// Words for documents and queries, the n-th as frequent as 1 / n; a document's words say nothing about its vector.
pub fn words(count: usize, seed: u64) -> impl FnMut() -> String {
    const VOCABULARY: f32 = 30_000.0;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    move || {
        let words = (0..count).map(|_| {
            // The inverse of the distribution function of 1 / n.
            let word = VOCABULARY.powf(random.random::<f32>()) as u32;
            format!("w{word}")
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Lists for an inverted file over so many rows, a power of two near four times the root; as many in each of eight segments.
pub fn lists(rows: usize) -> usize {
    2_usize.pow((4.0 * (rows as f64).sqrt()).log2().round() as u32)
}
