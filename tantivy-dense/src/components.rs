//! The files of a segment that this crate writes.

use tantivy::index::SegmentComponent;

use crate::rows::EXTENSION;

/// All files of a segment that this crate may ever write. tantivy fixes the list when an index is made.
pub(crate) const EXTENSIONS: [&str; 2] = [EXTENSION, crate::ann::file::EXTENSION];

/// The file of rows, as tantivy names it.
pub(crate) fn rows_component() -> SegmentComponent {
    SegmentComponent::Custom(EXTENSION.to_owned())
}

/// The file of approximate indexes, as tantivy names it.
pub(crate) fn ann_component() -> SegmentComponent {
    SegmentComponent::Custom(crate::ann::file::EXTENSION.to_owned())
}
