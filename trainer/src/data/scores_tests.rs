//! Tests of the score file: what is flushed survives, what is torn or damaged is noticed.

use super::*;
use proptest::prelude::*;

fn open(path: &Path) -> ScoreCache {
    ScoreCache::open(path, "teacher-1").unwrap()
}

fn key(n: u32) -> ScoreKey {
    score_key("teacher-1", "q", &[n])
}

fn filled(path: &Path, count: u32) {
    let mut cache = open(path);
    for n in 0..count {
        cache.insert(key(n), n as f32 - 0.5).unwrap();
    }
    cache.flush().unwrap();
}

#[test]
fn keys_tell_teachers_queries_and_passages_apart() {
    let keys = [
        score_key("t", "q", &[7]),
        score_key("u", "q", &[7]),
        score_key("tq", "", &[7]),
        score_key("t", "qp", &[]),
        score_key("t", "q", &[112]),
        score_key("t", "q", &[1, 2]),
    ];
    for (i, a) in keys.iter().enumerate() {
        assert!(keys[i + 1..].iter().all(|b| a != b), "key {i}");
    }
    assert_eq!(keys[0], score_key("t", "q", &[7]));
}

#[test]
fn the_bytes_of_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    let mut cache = open(&path);
    cache.insert([7; 16], 1.5).unwrap();
    cache.flush().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), HEADER + RECORD);
    assert_eq!(&bytes[..12], b"ADAMSCOR\x01\0\0\0");
    assert_eq!(bytes[12..16], crc32fast::hash(b"ADAMSCOR\x01\0\0\0").to_le_bytes());
    assert_eq!(&bytes[16..36], &[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0xc0, 0x3f]);
    assert_eq!(bytes[36..40], crc32fast::hash(&bytes[16..36]).to_le_bytes());
}

#[test]
fn a_torn_end_is_cut_off_with_a_note_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/scores.bin");
    filled(&path, 10);
    let good = std::fs::read(&path).unwrap();
    for cut in HEADER..good.len() {
        std::fs::write(&path, &good[..cut]).unwrap();
        let cache = open(&path);
        let whole = (cut - HEADER) / RECORD;
        assert_eq!(cache.len(), whole);
        assert_eq!(cache.notes().len(), usize::from(cut != HEADER + whole * RECORD), "cut at {cut}");
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, HEADER + whole * RECORD);
    }
    // And one can go on writing after the cut.
    std::fs::write(&path, &good[..good.len() - 5]).unwrap();
    let mut cache = open(&path);
    cache.insert(key(9), 8.5).unwrap();
    drop(cache);
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn a_header_cut_short_begins_anew_and_a_foreign_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    std::fs::write(&path, &header()[..9]).unwrap();
    assert_eq!(open(&path).notes().len(), 1);
    for foreign in [&b"hello"[..], b"a file of something else altogether", b"ADAMSCOR\x02\0\0\0\0\0\0\0"] {
        std::fs::write(&path, foreign).unwrap();
        let error = ScoreCache::open(&path, "t").unwrap_err().to_string();
        assert!(error.contains("scores.bin"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), foreign);
    }
}

#[test]
fn damage_in_the_middle_costs_only_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    filled(&path, 10);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER + 3 * RECORD + 17] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let cache = open(&path);
    assert_eq!(cache.len(), 9);
    assert_eq!(cache.get(&key(3)), None);
    assert_eq!(cache.get(&key(9)), Some(8.5));
    assert!(cache.notes()[0].contains("1 damaged"));
}

#[test]
fn looking_does_not_touch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    assert!(KnownScores::read(&path, "teacher-1").unwrap().is_empty());
    filled(&path, 4);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([1, 2, 3]);
    std::fs::write(&path, &bytes).unwrap();
    let known = KnownScores::read(&path, "teacher-1").unwrap();
    assert_eq!((known.len(), known.notes().len()), (4, 1));
    assert_eq!(known.get("q", &[2]), Some(1.5));
    assert_eq!(known.get("q", &[9]), None);
    assert_eq!(KnownScores::read(&path, "teacher-2").unwrap().get("q", &[2]), None);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::write(&path, "something else entirely").unwrap();
    assert!(KnownScores::read(&path, "t").is_err());
}

#[test]
fn two_writers_are_one_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    let first = open(&path);
    let error = ScoreCache::open(&path, "t").unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(first);
    open(&path);
}

#[test]
fn a_kill_loses_no_flushed_score_and_no_score_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.bin");
    let mut cache = open(&path);
    for n in 0..16 {
        cache.insert(key(n), n as f32).unwrap();
    }
    cache.flush().unwrap();
    cache.insert(key(16), 16.0).unwrap();
    // As after a kill: nothing is flushed on the way out.
    std::mem::forget(cache);
    let copy = folder.path().join("after.bin");
    std::fs::copy(&path, &copy).unwrap();

    let mut cache = open(&copy);
    assert!((0..16).all(|n| cache.get(&key(n)) == Some(n as f32)));
    assert!(cache.get(&key(16)).is_none_or(|score| score == 16.0));
    let error = cache.insert(key(17), f32::NAN).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_after_the_header_neither_panic_nor_invent_scores(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.bin");
        filled(&path, 3);
        let mut all = std::fs::read(&path).unwrap();
        all.extend(&bytes);
        std::fs::write(&path, &all).unwrap();
        let cache = open(&path);
        prop_assert_eq!(cache.len(), 3);
        drop(cache);
        std::fs::write(&path, &bytes).unwrap();
        let _ = ScoreCache::open(&path, "t");
    }
}
