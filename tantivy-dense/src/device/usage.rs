//! What a device holds and has done.

/// What a [`Device`](super::Device) holds and has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceUsage {
    /// Segments' rows, or lists, that are on the device now.
    pub blocks: usize,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub limit: u64,
    /// How often rows or lists were copied to the device.
    pub copied: u64,
    /// How often some had to go for others.
    pub evicted: u64,
    /// Calls answered.
    pub calls: u64,
    /// Queries in those calls; over a segment each.
    pub queries: u64,
    /// Calls that failed, and were answered by the processor.
    pub failed: u64,
    /// Queries that wait at this moment.
    pub waiting: u64,
}
