//! Several searches in one ranking.
