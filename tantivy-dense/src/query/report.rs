//! What a search found, and how.

use std::fmt;

use tantivy::DocAddress;

/// A document found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where it is, for the searcher that found it.
    pub address: DocAddress,
    /// How similar its vector is: cosine, inner product, or the negative of the squared distance.
    pub similarity: f32,
    /// The positive number that tantivy's collectors see, see [`Metric::score`](crate::Metric::score).
    pub score: f32,
}

/// What a search found, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct KnnOutcome {
    /// Best first.
    pub hits: Vec<Hit>,
    /// One for each of the searcher's segments.
    pub segments: Vec<SegmentReport>,
}

/// How one segment was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// Rows of the field in the segment.
    pub rows: u32,
    /// Rows left by deletes and the filter.
    pub selected: u32,
    /// How they were searched.
    pub path: SearchPath,
    /// Why the segment's approximate index or the [device](crate::Device) was not used, or not it alone; `None` where it
    /// was, or where there is none.
    pub note: Option<String>,
}

impl SegmentReport {
    /// Another thing to say, after what was said before.
    pub(crate) fn add_note(&mut self, more: String) {
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {more}"),
            None => more,
        });
    }
}

/// A way to search a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchPath {
    /// There was nothing to search.
    Nothing,
    /// Every row was compared.
    Exact,
    /// Every row's rounded copy was compared, and in full where that left a doubt.
    ExactInTwoPasses,
    /// A device compared every row, and what it gave was compared in full. The hits are those of [`SearchPath::Exact`].
    ExactOnDevice(DeviceUse),
    /// The approximate index was asked, and what it found was compared in full.
    Index(IndexUse),
}

/// How a device was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceUse {
    /// Its name, see [`Device::name`](crate::Device::name).
    pub device: String,
    /// Rows that it gave in the last call, deleted ones among them.
    pub candidates: usize,
    /// Calls it took, each for twice as many rows as the one before.
    pub calls: usize,
    /// Queries that were answered together in the last call.
    pub batch: usize,
}

/// How an approximate index was searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexUse {
    /// Factory string it was built from.
    pub factory: String,
    /// Candidates that the search of a graph kept, for a graph.
    pub ef: Option<usize>,
    /// Lists looked into, for an inverted file.
    pub nprobe: Option<usize>,
    /// Candidates it was asked for.
    pub candidates: usize,
    /// Distances it computed; 0 on a device, which does not count them.
    pub distances: u64,
    /// Name of the device that searched it; `None` for the processor.
    pub device: Option<String>,
}

impl SearchPath {
    /// Whether the segment's answer is exact.
    pub fn is_exact(&self) -> bool {
        !matches!(self, SearchPath::Index(_))
    }
}

impl fmt::Display for IndexUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.factory)?;
        if let Some(ef) = self.ef {
            write!(out, ", ef {ef}")?;
        }
        if let Some(nprobe) = self.nprobe {
            write!(out, ", nprobe {nprobe}")?;
        }
        match &self.device {
            None => write!(out, ", {} candidates, {} distances", self.candidates, self.distances),
            Some(device) => write!(out, ", {} candidates, on {device}", self.candidates),
        }
    }
}

impl fmt::Display for SegmentReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentReport { rows, selected, path, note } = self;
        match path {
            SearchPath::Nothing => write!(out, "nothing to search: none of {rows} rows is left")?,
            SearchPath::Exact => write!(out, "exact: {selected} of {rows} rows compared")?,
            SearchPath::ExactInTwoPasses => {
                write!(out, "exact: {selected} of {rows} rows compared as int8, the doubtful ones in full")?;
            }
            SearchPath::ExactOnDevice(DeviceUse { device, candidates, calls, batch }) => {
                write!(out, "exact: {rows} rows compared on {device}, {candidates} of them again here")?;
                write!(out, ", for {selected} that may be hits; {batch} queries at once, calls: {calls}")?;
            }
            SearchPath::Index(index) => write!(out, "approximate: {index}, over {selected} of {rows} rows")?,
        }
        match note {
            Some(note) => write!(out, " ({note})"),
            None => Ok(()),
        }
    }
}
