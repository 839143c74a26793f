//! An index as bytes: written with a checksum, opened where it lies.

use std::io::Write;

use tantivy::directory::OwnedBytes;

use super::Similarity;
use super::faults::{check_vector, damaged, failed, refused};
use super::index::AnnIndex;
use super::native::Native;
use crate::DenseError;

/// The first bytes of a written index: magic with version, flags, the number of padding bytes, two zero bytes, the
/// length of what faiss wrote as u64 little-endian. Padding follows, so that the largest array of the index begins at
/// a multiple of 64 when the whole begins at one.
const MAGIC: [u8; 4] = *b"FAI1";
const HEADER: usize = 16;
const FLAG_GRAPH_ONLY: u8 = 1;
const ALIGNMENT: u64 = 64;

/// What an opened index must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnSpec {
    /// How vectors are compared.
    pub similarity: Similarity,
    /// Values per row.
    pub dimension: usize,
    /// Number of rows.
    pub rows: usize,
}

impl AnnIndex {
    /// Whether [`AnnIndex::write_to`] can leave the vectors out, because they are the rows as they are.
    pub fn can_leave_out_rows(&self) -> bool {
        self.info.graph_over_rows
    }

    /// Writes the index to `out` and returns the number of bytes and their CRC-32.
    ///
    /// With `without_rows`, a graph over plain 32-bit rows is written without them, a fifth to a tenth of the size;
    /// [`AnnIndex::open`] must then be given the rows.
    pub fn write_to(&self, out: &mut dyn Write, without_rows: bool) -> Result<(u64, u32), DenseError> {
        let doing = "writing an index";
        if without_rows && !self.info.graph_over_rows {
            return Err(refused("only a graph over plain rows can be written without them"));
        }
        let (length, array) = self.native.size(without_rows).map_err(|failure| failed(doing, failure))?;
        let padding = (HEADER as u64 + array).next_multiple_of(ALIGNMENT) - (HEADER as u64 + array);
        let mut header = [0_u8; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = if without_rows { FLAG_GRAPH_ONLY } else { 0 };
        header[5] = padding as u8; // below 64
        header[8..].copy_from_slice(&length.to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        let mut written = 0_u64;
        let mut push = |bytes: &[u8]| {
            checksum.update(bytes);
            written += bytes.len() as u64;
            out.write_all(bytes)
        };
        push(&header).and_then(|()| push(&[0; ALIGNMENT as usize][..padding as usize])).map_err(DenseError::from)?;
        self.native
            .write(without_rows, &mut push)
            .map_err(|failure| failed(doing, failure))?
            .map_err(DenseError::from)?;
        let expected = HEADER as u64 + padding + length;
        if written != expected {
            return Err(refused(format!("faiss wrote an index of {written} bytes after announcing {expected}")));
        }
        Ok((written, checksum.finalize()))
    }

    /// The bytes of [`AnnIndex::write_to`] and their CRC-32.
    pub fn to_bytes(&self, without_rows: bool) -> Result<(Vec<u8>, u32), DenseError> {
        let mut bytes = Vec::new();
        let (_, checksum) = self.write_to(&mut bytes, without_rows)?;
        Ok((bytes, checksum))
    }

    /// Opens what [`AnnIndex::write_to`] wrote.
    ///
    /// The checksum is verified before faiss sees a byte, because its reader believes every length it finds; what was
    /// read is then held against `spec`, and the links of a graph against its rows. `rows` are the rows it was built
    /// from, where it was written without them: they must be the very same values, which is the caller's to ensure (by
    /// a checksum kept beside, as [`super::file`] does). Rows that are not aligned to four bytes are copied.
    ///
    /// The neighbours of a graph and the codes of a flat index are used where they lie, so that a mapped file costs
    /// little memory; `bytes` should begin at a multiple of 64 for that, and is copied in part otherwise.
    pub fn open(
        bytes: OwnedBytes,
        checksum: u32,
        spec: &AnnSpec,
        rows: Option<OwnedBytes>,
    ) -> Result<AnnIndex, DenseError> {
        if crc32fast::hash(&bytes) != checksum {
            return Err(damaged("its checksum differs"));
        }
        AnnIndex::open_verified(bytes, spec, rows)
    }

    /// As [`AnnIndex::open`], for bytes whose checksum has just been compared.
    pub(super) fn open_verified(
        bytes: OwnedBytes,
        spec: &AnnSpec,
        rows: Option<OwnedBytes>,
    ) -> Result<AnnIndex, DenseError> {
        let header: [u8; HEADER] = match bytes.get(..HEADER).and_then(|header| header.try_into().ok()) {
            Some(header) => header,
            None => return Err(damaged(format!("{} bytes hold no header", bytes.len()))),
        };
        if header[..4] != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let mut length = [0; 8];
        length.copy_from_slice(&header[8..]);
        let start = HEADER + usize::from(header[5]);
        let end = usize::try_from(u64::from_le_bytes(length)).ok().and_then(|length| start.checked_add(length));
        if end != Some(bytes.len()) || header[4] > FLAG_GRAPH_ONLY {
            return Err(damaged("its header does not fit its length"));
        }
        let rows = match (header[4] & FLAG_GRAPH_ONLY != 0, rows) {
            (false, _) => None,
            (true, None) => {
                return Err(refused("the index was written without its rows; they must be given"));
            }
            (true, Some(rows)) => Some(aligned(rows, spec)?),
        };
        // A graph is searched by comparing with these, and faiss's heaps believe that comparisons are of numbers.
        if let Some(rows) = &rows {
            let values: &[f32] = bytemuck::try_cast_slice(rows).unwrap_or_default();
            for (row, values) in values.chunks(spec.dimension.max(1)).enumerate() {
                check_vector(values, || format!("row {row}"))?;
            }
        }
        let doing = "opening an index";
        let mapped_bytes = bytes.len();
        let native = Native::open(bytes.slice(start..bytes.len()), rows, spec.rows as u64)
            .map_err(|failure| failed(doing, failure))?;
        let info = native.info().map_err(|failure| failed(doing, failure))?;
        let inner_product = spec.similarity == Similarity::InnerProduct;
        if info.rows != spec.rows as u64
            || info.dimension != spec.dimension as u64
            || info.inner_product != inner_product
        {
            return Err(refused(format!(
                "the written index has {} rows of {} values; {} rows of {} with {:?} were expected",
                info.rows, info.dimension, spec.rows, spec.dimension, spec.similarity
            )));
        }
        Ok(AnnIndex { native, info, mapped_bytes })
    }
}

/// Rows as 32-bit floats where they lie, or a copy where they are not aligned.
fn aligned(rows: OwnedBytes, spec: &AnnSpec) -> Result<OwnedBytes, DenseError> {
    let expected = spec.rows.checked_mul(spec.dimension).and_then(|values| values.checked_mul(4));
    if expected != Some(rows.len()) {
        return Err(refused(format!(
            "{} bytes of rows are not {} rows of {} 32-bit floats",
            rows.len(),
            spec.rows,
            spec.dimension
        )));
    }
    if bytemuck::try_cast_slice::<u8, f32>(&rows).is_ok() {
        return Ok(rows);
    }
    // A vector of bytes promises no alignment, so the copy begins at the first aligned byte of a slightly longer one.
    let mut copy = vec![0_u8; rows.len() + align_of::<f32>() - 1];
    let start = copy.as_ptr().align_offset(align_of::<f32>());
    let end = start.saturating_add(rows.len());
    match copy.get_mut(start..end) {
        Some(place) => place.copy_from_slice(&rows),
        None => return Err(refused("the rows could not be aligned")),
    }
    Ok(OwnedBytes::new(copy).slice(start..end))
}
