//! The processor as a device: the rows in a flat faiss index of its own, searched for all waiting queries at once.

use tantivy::directory::OwnedBytes;

use super::backend::{Backend, Nearest, Trouble, in_pieces};
use super::options::MOST;
use crate::DenseError;
use crate::ann::{AnnIndex, AnnKind, AnnSearch, AnnSpec, RowSource, Similarity};

/// faiss on the processor.
pub(super) struct Host;

fn refused(error: DenseError) -> Trouble {
    Trouble::Refused(error.to_string())
}

impl Backend for Host {
    type Block = AnnIndex;

    fn memory(&self) -> u64 {
        u64::MAX
    }

    fn most(&self) -> usize {
        MOST
    }

    fn copy_rows(
        &mut self,
        rows: &dyn RowSource,
        similarity: Similarity,
        dimension: usize,
    ) -> Result<AnnIndex, Trouble> {
        let mut flat = AnnIndex::flat(similarity, dimension, rows.len()).map_err(refused)?;
        in_pieces(rows, dimension, |_, values| flat.append(values).map_err(refused))?;
        Ok(flat)
    }

    fn copy_lists(&mut self, index: &AnnIndex) -> Result<AnnIndex, Trouble> {
        if index.kind() != AnnKind::Lists {
            return Err(Trouble::Refused("only inverted files are copied".to_owned()));
        }
        let (bytes, checksum) = index.to_bytes(false).map_err(refused)?;
        let spec = AnnSpec { similarity: index.similarity(), dimension: index.dimension(), rows: index.rows() };
        AnnIndex::open(OwnedBytes::new(bytes), checksum, &spec, None).map_err(refused)
    }

    fn nearest(&mut self, block: &AnnIndex, queries: &[f32], k: usize, nprobe: usize) -> Result<Nearest, Trouble> {
        if block.kind() == AnnKind::Flat {
            let (similarities, rows) = block.search_flat(queries, k).map_err(refused)?;
            return Ok(Nearest { similarities, rows });
        }
        let search = AnnSearch { nprobe: Some(nprobe), ..AnnSearch::default() };
        let mut nearest = Nearest::default();
        for query in queries.chunks(block.dimension().max(1)) {
            let end = nearest.rows.len() + k;
            for (row, similarity) in block.search(query, k, &search, None).map_err(refused)? {
                nearest.rows.push(i64::from(row));
                nearest.similarities.push(similarity);
            }
            nearest.rows.resize(end, -1);
            nearest.similarities.resize(end, 0.0);
        }
        Ok(nearest)
    }
}
