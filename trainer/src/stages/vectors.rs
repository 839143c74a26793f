//! Vectors of the whole corpus, kept on disk: encoding takes longer than anything done with them, and the baseline, mining and a
//! second run share them.
//!
//! # File
//! Little-endian: `ADAMVECS`, version (4 bytes, 1), dimension (4), rows (8), key (32 bytes: SHA-256 of model and texts), the rows in f32,
//! SHA-256 of everything before. A file that is torn, foreign or of other texts is made again.

use crate::error::TrainError;
use crate::files::write_whole;
use adam_encoder::TextEncoder;
use ndarray::ArrayView2;
use ndarray_npy::WriteNpyExt;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::Path;

const MAGIC: &[u8; 8] = b"ADAMVECS";
const VERSION: u32 = 1;
const HEADER: usize = 56;

/// Rows of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vectors {
    pub(crate) dimension: usize,
    pub(crate) values: Vec<f32>,
}

impl Vectors {
    /// One of the rows.
    pub(crate) fn row(&self, number: usize) -> Option<&[f32]> {
        self.values.get(number * self.dimension..(number + 1) * self.dimension)
    }

    /// Numbers of the `depth` rows with the largest dot product, best first; ties by lower number.
    pub(crate) fn nearest(&self, query: &[f32], depth: usize) -> Vec<(usize, f32)> {
        let mut scored: Vec<(usize, f32)> = self
            .values
            .par_chunks(self.dimension.max(1))
            .enumerate()
            .map(|(row, values)| (row, values.iter().zip(query).map(|(a, b)| a * b).sum()))
            .collect();
        let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if scored.len() > depth && depth > 0 {
            scored.select_nth_unstable_by(depth - 1, order);
            scored.truncate(depth);
        }
        scored.sort_unstable_by(order);
        scored
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path, key: &[u8; 32]) -> Result<(), TrainError> {
        let rows = self.values.len() / self.dimension.max(1);
        let mut bytes = Vec::with_capacity(HEADER + self.values.len() * 4 + 32);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.dimension as u32).to_le_bytes());
        bytes.extend((rows as u64).to_le_bytes());
        bytes.extend(key);
        bytes.extend(self.values.iter().flat_map(|v| v.to_le_bytes()));
        let sum: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend(sum);
        write_whole(path, &bytes)
    }

    /// Writes the rows for other programs, as `adam encode` does: a NumPy array of f32, and beside it a JSON file that says
    /// whose rows they are and which model made them.
    pub(crate) fn share(&self, path: &Path, encoder: &dyn TextEncoder, ids: &[String]) -> Result<(), TrainError> {
        let rows = ArrayView2::from_shape((ids.len(), self.dimension), &self.values);
        let mut bytes = Vec::new();
        rows.map_err(|e| TrainError::internal(e.to_string()))?
            .write_npy(&mut bytes)
            .map_err(|e| TrainError::data(path, e.to_string()))?;
        write_whole(path, &bytes)?;
        let names = serde_json::json!({
            "version": 1,
            "fingerprint": encoder.fingerprint(),
            "model": encoder.name(),
            "kind": "document",
            "dimension": self.dimension,
            "ids": ids,
        });
        write_whole(&path.with_extension("npy.json"), names.to_string().as_bytes())
    }

    /// Reads the file if it is whole and of this key; else says why not.
    pub(crate) fn read(path: &Path, key: &[u8; 32]) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        if bytes.len() < HEADER + 32 || &bytes[..8] != MAGIC {
            return Err("not a file of vectors, or one cut short".to_owned());
        }
        let (body, sum) = bytes.split_at(bytes.len() - 32);
        if <[u8; 32]>::from(Sha256::digest(body)) != sum {
            return Err("its checksum does not fit".to_owned());
        }
        let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if word(8) != VERSION {
            return Err(format!("format version {}, and this program reads version {VERSION}", word(8)));
        }
        if &body[24..HEADER] != key {
            return Err("it is of another model or other texts".to_owned());
        }
        let dimension = word(12) as usize;
        let rows = u64::from(word(16)) | u64::from(word(20)) << 32;
        let expected = rows.checked_mul(dimension as u64).and_then(|n| n.checked_mul(4));
        if dimension == 0 || expected != Some((body.len() - HEADER) as u64) {
            return Err("its length is not what its header says".to_owned());
        }
        let values = body[HEADER..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Self { dimension, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_and_every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.bin");
        let vectors = Vectors { dimension: 2, values: vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0] };
        vectors.write(&path, &[7; 32]).unwrap();
        assert_eq!(Vectors::read(&path, &[7; 32]).unwrap(), vectors);
        assert!(Vectors::read(&path, &[8; 32]).is_err());
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(Vectors::read(&path, &[7; 32]).is_err(), "byte {place}");
            std::fs::write(&path, &whole[..place]).unwrap();
            assert!(Vectors::read(&path, &[7; 32]).is_err(), "cut at {place}");
        }
        let found: Vec<usize> = vectors.nearest(&[0.0, 1.0], 2).into_iter().map(|f| f.0).collect();
        assert_eq!(found, [2, 1]);
    }
}
