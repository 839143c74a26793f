//! A vector field for tantivy: stored, merged, deleted and searched with the segment.
