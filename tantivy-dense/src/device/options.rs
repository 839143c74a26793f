//! How a device is used.

use std::time::Duration;

/// The most rows that faiss on a GPU selects for one query.
pub(crate) const MOST: usize = 2048;

/// How a [`Device`](super::Device) is used.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeviceOptions {
    /// Bytes that copies of rows may take on the device. Default: four fifths of what is free on a GPU when it is
    /// opened; no limit on the host.
    pub(crate) memory_bytes: Option<u64>,
    /// Searches that compare fewer values than this, in one segment and for all queries of a batch together, stay on the
    /// processor: it has done them before a device has begun. Default: 1,048,576, about half a millisecond.
    pub(crate) least_values: usize,
    /// How long a segment's rows stay on the device at least after a search, when others want their place; and how long
    /// rows that could not be copied are left to the processor before it is tried again. Default: a minute.
    pub(crate) keep: Duration,
    /// Whether segments with an inverted file (IVF) are searched by it on the device, for queries that do not ask to
    /// be exact; the others, and all by default, have every row compared.
    pub(crate) lists: bool,
    /// The most rows to take from the device for one hit list; 2048 at most, which is the default. Lower it to turn to
    /// the processor sooner where a filter leaves few rows.
    pub(crate) most: usize,
    /// The most queries in one call. Default: 1024.
    pub(crate) batch: usize,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        DeviceOptions {
            memory_bytes: None,
            least_values: 1 << 20,
            keep: Duration::from_secs(60),
            lists: false,
            most: MOST,
            batch: 1024,
        }
    }
}

impl DeviceOptions {
    /// Bytes that copies of rows may take on the device.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Searches of fewer values stay on the processor.
    #[must_use]
    pub fn least_values(mut self, values: usize) -> Self {
        self.least_values = values;
        self
    }

    /// How long a segment's rows stay at least after a search.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Whether inverted files are searched on the device where there are some.
    #[must_use]
    pub fn lists(mut self, lists: bool) -> Self {
        self.lists = lists;
        self
    }

    /// The most rows to take from the device for one hit list, from 1 to 2048.
    #[must_use]
    pub fn most(mut self, rows: usize) -> Self {
        self.most = rows.clamp(1, MOST);
        self
    }

    /// The most queries in one call, 1 or more.
    #[must_use]
    pub fn batch(mut self, queries: usize) -> Self {
        self.batch = queries.max(1);
        self
    }
}
