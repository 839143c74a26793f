//! Settings of an open index.

use crate::Device;
use crate::ann::AnnPolicy;

/// Settings of a [`Dense`](crate::Dense). They can differ from one start of a program to the next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenseOptions {
    /// Whether a segment's checksums are compared when it is opened for search, once per segment. It reads every
    /// vector, some gigabytes a second where the files are in memory, and finds what a disk or a copy damaged before a
    /// search can answer from it. Default: true.
    ///
    /// With false, what would be followed blindly is read all the same: the lists of documents in `.vec`, and each index in
    /// `.ann`, whole and once, for its checksum; beside a graph that was written without its rows, these too, since a value
    /// that is no number would lead its search astray. Segments without an index are opened without reading their rows.
    pub(crate) verify_on_open: bool,
    /// What merges build over the rows they write, and how it is searched by default; has no effect without the feature
    /// `faiss`. Default: from 50,000 rows of 768 values or as many values otherwise, and no fewer than 10,000 rows, a
    /// graph; from five million rows on an inverted file. A field can name its own index
    /// ([`VectorOptions::index`](crate::VectorOptions::index)).
    pub(crate) ann: AnnPolicy,
    /// Where rows are compared, if not on the processor alone: a GPU, which takes a copy of every segment's rows when it
    /// is opened. Default: none.
    pub(crate) device: Option<Device>,
}

impl DenseOptions {
    /// Whether checksums are compared when a segment is opened.
    #[must_use]
    pub fn verify_on_open(mut self, verify: bool) -> Self {
        self.verify_on_open = verify;
        self
    }

    /// What merges build, and how it is searched by default.
    ///
    /// ```
    /// use tantivy_dense::{AnnPolicy, Dense, DenseOptions};
    /// // Lists with rows of one byte a value for every merged segment of 20,000 rows or more.
    /// let policy = AnnPolicy::always("IVF1024,SQ8", 20_000).nprobe(32);
    /// let dense = Dense::with_options(DenseOptions::default().ann(policy));
    /// ```
    #[must_use]
    pub fn ann(mut self, policy: AnnPolicy) -> Self {
        self.ann = policy;
        self
    }

    /// Compares rows on a device where it can, see [`Device`].
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }
}

impl Default for DenseOptions {
    fn default() -> Self {
        DenseOptions { verify_on_open: true, ann: AnnPolicy::default(), device: None }
    }
}
