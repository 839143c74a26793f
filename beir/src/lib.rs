//! Collections in BEIR layout, trec_eval metrics and paired significance tests.
