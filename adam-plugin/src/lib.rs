//! Text in, hybrid BM25 and dense answers out: a sentence encoder inside a tantivy index.
