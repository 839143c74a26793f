use std::sync::Arc;

use super::*;

fn entry(field: u32) -> AnnEntry {
    AnnEntry {
        field,
        similarity: Similarity::SquaredL2,
        dimension: 3,
        rows: 5,
        rows_checksum: 0x0102_0304,
        needs_rows: true,
        ef_construction: 100,
        ef: 96,
        nprobe: 7,
        library: "faiss".to_owned(),
        library_version: "1.12.0".to_owned(),
        factory: "HNSW32".to_owned(),
        blob_checksum: 0,
        start: 0,
        length: 0,
    }
}

fn written() -> Vec<u8> {
    let mut writer = AnnFileWriter::new(Vec::new()).unwrap();
    writer.add_bytes(entry(2), b"first blob").unwrap();
    writer.add_bytes(AnnEntry { similarity: Similarity::InnerProduct, needs_rows: false, ..entry(9) }, b"2nd").unwrap();
    writer.finish().unwrap()
}

fn open(bytes: &[u8]) -> Result<AnnFile, DenseError> {
    AnnFile::open(FileSlice::new(Arc::new(OwnedBytes::new(bytes.to_vec()))), "a.ann")
}

const SPEC: AnnSpec = AnnSpec { similarity: Similarity::SquaredL2, dimension: 3, rows: 5 };

#[test]
fn golden_bytes_of_version_1() {
    let mut expected = b"TDENSANN".to_vec();
    expected.resize(64, 0);
    expected.extend_from_slice(b"first blob");
    expected.resize(128, 0);
    expected.extend_from_slice(b"2nd");
    let table_start = expected.len() as u64;
    let table: &[&[u8]] = &[
        &[2, 0, 0, 0], // entries
        &[2, 0, 0, 0], // field
        &[1, 1, 0, 0], // squared L2, needs rows
        &[3, 0, 0, 0], // dimension
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &[4, 3, 2, 1],
        &crc32fast::hash(b"first blob").to_le_bytes(),
        &[64, 0, 0, 0, 0, 0, 0, 0],
        &[10, 0, 0, 0, 0, 0, 0, 0],
        &[100, 0, 0, 0],
        &[96, 0, 0, 0],
        &[7, 0, 0, 0],
        b"\x05\0faiss\x06\x001.12.0\x06\0HNSW32",
        &[9, 0, 0, 0],
        &[0, 0, 0, 0],
        &[3, 0, 0, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &[4, 3, 2, 1],
        &crc32fast::hash(b"2nd").to_le_bytes(),
        &[128, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[100, 0, 0, 0],
        &[96, 0, 0, 0],
        &[7, 0, 0, 0],
        b"\x05\0faiss\x06\x001.12.0\x06\0HNSW32",
    ];
    let table = table.concat();
    expected.extend_from_slice(&table);
    let mut trailer = table_start.to_le_bytes().to_vec();
    trailer.extend_from_slice(&(table.len() as u64).to_le_bytes());
    trailer.extend_from_slice(&crc32fast::hash(&table).to_le_bytes());
    trailer.extend_from_slice(&[1, 0, 0, 0]);
    trailer.extend_from_slice(&crc32fast::hash(&trailer).to_le_bytes());
    expected.extend_from_slice(&trailer);
    expected.extend_from_slice(b"TDENSANN");
    assert_eq!(written(), expected);
}

#[test]
fn what_was_written_is_read_back() {
    let file = open(&written()).unwrap();
    let [first, second] = file.entries() else { panic!("two entries") };
    assert_eq!(*first, AnnEntry { start: 64, length: 10, blob_checksum: crc32fast::hash(b"first blob"), ..entry(2) });
    assert_eq!((second.field, second.similarity, second.needs_rows), (9, Similarity::InnerProduct, false));
    file.verify().unwrap();
    assert!(matches!(file.get(3, &SPEC, 0x0102_0304).unwrap(), Lookup::Absent));
}

#[cfg(not(feature = "faiss"))]
#[test]
fn without_the_feature_the_reason_is_given() {
    let file = open(&written()).unwrap();
    let Lookup::Unusable(reason) = file.get(2, &SPEC, 0x0102_0304).unwrap() else { panic!("no faiss here") };
    assert_eq!(reason, Unusable::FeatureOff { library: "faiss".to_owned() });
    assert!(reason.to_string().contains("without the feature `faiss`"));
}

#[cfg(feature = "faiss")]
#[test]
fn a_blob_is_used_only_where_everything_fits() {
    let get = |spec: AnnSpec, checksum| open(&written()).unwrap().get(2, &spec, checksum).unwrap();
    let Lookup::Usable(blob) = get(SPEC, 0x0102_0304) else { panic!("all fits") };
    assert_eq!(blob.bytes.as_slice(), b"first blob");
    assert!(matches!(blob.open(None), Err(Unusable::Refused { .. })), "the bytes are no index");
    assert!(matches!(get(SPEC, 1), Lookup::Unusable(Unusable::OtherRows)));
    assert!(matches!(get(AnnSpec { rows: 6, ..SPEC }, 0x0102_0304), Lookup::Unusable(Unusable::OtherRows)));
    assert!(matches!(
        get(AnnSpec { dimension: 4, ..SPEC }, 0x0102_0304),
        Lookup::Unusable(Unusable::OtherField { .. })
    ));
    let mut writer = AnnFileWriter::new(Vec::new()).unwrap();
    writer.add_bytes(AnnEntry { library_version: "1.13.0".to_owned(), ..entry(2) }, b"x").unwrap();
    let later = open(&writer.finish().unwrap()).unwrap();
    let Lookup::Unusable(reason) = later.get(2, &SPEC, 0x0102_0304).unwrap() else { panic!("another version") };
    assert!(reason.to_string().starts_with("it was written by faiss 1.13.0, here is faiss 1.12"), "{reason}");
}

/// Its checksum is compared where it is read from the file, and opening it reads it once, not twice.
#[cfg(feature = "faiss")]
#[test]
fn a_blob_is_not_hashed_again_when_it_is_opened() {
    let build = AnnBuild::new("Flat", Similarity::SquaredL2, 3);
    let values: Vec<f32> = (0..15_u8).map(f32::from).collect();
    let rows = crate::ann::RowSlice::new(&values, 3).unwrap();
    let index = AnnIndex::build(&build, &rows, &std::sync::atomic::AtomicBool::new(false)).unwrap();
    let mut writer = AnnFileWriter::new(Vec::new()).unwrap();
    writer.add(2, &index, &build, &AnnSearch::default(), 7, false).unwrap();
    let file = open(&writer.finish().unwrap()).unwrap();
    let Lookup::Usable(mut blob) = file.get(2, &SPEC, 7).unwrap() else { panic!("all fits") };
    blob.entry.blob_checksum ^= 1;
    assert_eq!(blob.open(None).unwrap().rows(), 5);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let good = written();
    for at in 0..good.len() {
        for bit in [0, 7] {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let noticed = match open(&bad) {
                Err(_) => true,
                Ok(file) => file.verify().is_err(),
            };
            // The zero bytes that align a blob say nothing, so nothing can be wrong with them.
            let filling = (8..64).contains(&at) || (74..128).contains(&at);
            assert!(noticed != filling, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = written();
    for length in 0..good.len() {
        assert!(open(&good[..length]).is_err(), "{length} bytes");
    }
}

fn of_version(version: u8) -> Vec<u8> {
    let mut bytes = written();
    let trailer = bytes.len() - TRAILER;
    bytes[trailer + 20] = version;
    let checksum = crc32fast::hash(&bytes[trailer..trailer + 24]).to_le_bytes();
    bytes[trailer + 24..trailer + 28].copy_from_slice(&checksum);
    bytes
}

#[test]
fn a_newer_version_is_refused_by_both_numbers() {
    assert!(matches!(open(&of_version(2)), Err(DenseError::NewerFormat { found: 2, supported: 1, .. })));
}

#[test]
fn a_version_before_the_first_is_damage_and_not_newer() {
    let error = open(&of_version(0)).unwrap_err();
    assert!(matches!(error, DenseError::Corrupt { .. }) && error.to_string().contains("version 0"), "{error}");
}

#[test]
fn entries_that_point_outside_are_refused_though_their_checksum_is_right() {
    for (start, length) in [(64, u64::MAX), (u64::MAX - 63, 64), (0, 4), (65, 1), (64, 200), (1 << 40, 0)] {
        let mut writer = AnnFileWriter::new(Vec::new()).unwrap();
        writer.add_bytes(entry(2), b"blob").unwrap();
        writer.entries[0].start = start;
        writer.entries[0].length = length;
        let bytes = writer.finish().unwrap();
        let Err(DenseError::Corrupt { what, .. }) = open(&bytes) else { panic!("{start}, {length}") };
        assert!(what.contains("outside"), "{what}");
    }
}

#[test]
fn a_field_has_one_index() {
    let mut writer = AnnFileWriter::new(Vec::new()).unwrap();
    writer.add_bytes(entry(2), b"blob").unwrap();
    assert!(writer.add_bytes(entry(2), b"blob").is_err());
    writer.add_bytes(entry(3), b"blob").unwrap();
    writer.entries[1].field = 2;
    assert!(open(&writer.finish().unwrap()).is_err());
}
