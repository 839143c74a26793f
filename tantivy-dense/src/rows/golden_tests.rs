//! The `.vec` file, byte for byte, written down by hand from `docs/file_format.md`.

use std::sync::Arc;

use tantivy::directory::{FileSlice, OwnedBytes};
use tantivy::index::SegmentId;
use tantivy::schema::Schema;

use super::*;
use crate::{Element, VectorField, VectorOptions};

/// The values' bytes, one after another.
fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const SEGMENT: &str = "00112233445566778899aabbccddeeff";

fn segment(id: &str) -> SegmentId {
    SegmentId::from_uuid_string(id).unwrap()
}

/// Three documents: of the first field the middle one has no vector.
fn written() -> (Vec<u8>, Vec<VectorField>) {
    let mut schema = Schema::builder();
    let distance = VectorField::add_to(&mut schema, "distance", VectorOptions::l2(2)).unwrap();
    let angle = VectorField::add_to(&mut schema, "angle", VectorOptions::cosine(2).element(Element::Int8)).unwrap();
    let product = VectorField::add_to(&mut schema, "product", VectorOptions::dot(3).int8_first_pass(true)).unwrap();
    let vectors: [(&VectorField, [Option<&[f32]>; 3]); 3] = [
        (&distance, [Some(&[1.0, 2.0]), None, Some(&[3.0, 4.0])]),
        (&angle, [Some(&[3.0, 4.0]), Some(&[4.0, 3.0]), Some(&[-3.0, 4.0])]),
        (&product, [Some(&[127.0, -64.0, 3.0]), Some(&[254.0, -128.0, 6.0]), Some(&[0.0, 0.0, 0.0])]),
    ];
    let mut file = RowsFileWriter::new(Vec::new(), segment(SEGMENT));
    let mut fields: Vec<FieldWriter> =
        vectors.iter().map(|(field, _)| FieldWriter::new((*field).clone(), &mut file)).collect();
    for doc in 0..3 {
        for (writer, (_, vectors)) in fields.iter_mut().zip(&vectors) {
            if let Some(vector) = vectors[doc] {
                writer.add(&mut file, doc as u32, vector).unwrap();
            }
        }
    }
    for field in fields {
        field.finish(&mut file, 3, None).unwrap();
    }
    let bytes = file.finish(3).unwrap();
    (bytes, vec![distance, angle, product])
}

/// The file in a version of the format.
fn expected(version: u32) -> Vec<u8> {
    // (3, 4) has length 5; (0.6, 0.8) in 127 steps to the largest value is (95, 127), of length sqrt(25154).
    let unit = 1.0 / (25_154.0_f64.sqrt() as f32);
    let long = 20_234.0_f64.sqrt() as f32;
    let twice = (4.0 * 20_234.0_f64).sqrt() as f32;
    // Number of the field, of the section, and the bytes.
    let sections: [(u32, u32, Vec<u8>); 11] = [
        (0, 1, f32s(&[1.0, 2.0, 3.0, 4.0])),
        (0, 4, f32s(&[5.0_f64.sqrt() as f32, 5.0])),
        (0, 2, u32s(&[0, 2])),
        (1, 1, vec![95, 127, 127, 95, 161, 127]), // 161 is -95
        (1, 4, f32s(&[5.0, 5.0, 5.0])),
        (1, 5, f32s(&[unit, unit, unit])),
        (2, 1, f32s(&[127.0, -64.0, 3.0, 254.0, -128.0, 6.0, 0.0, 0.0, 0.0])),
        (2, 6, vec![127, 192, 3, 127, 192, 3, 0, 0, 0]), // 192 is -64
        (2, 4, f32s(&[long, twice, 0.0])),
        (2, 7, f32s(&[1.0, 2.0, 0.0])),
        (2, 8, f32s(&[0.0, 0.0, 0.0])),
    ];
    let mut expected: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for (field, tag, bytes) in &sections {
        expected.resize(expected.len().next_multiple_of(64), 0);
        places.push((*field, *tag, crc32fast::hash(bytes), expected.len() as u64, bytes.len() as u64));
        expected.extend_from_slice(bytes);
    }
    expected.resize(expected.len().next_multiple_of(64), 0);
    let table_start = expected.len() as u64;

    let mut table = Vec::new();
    if version >= 2 {
        table.extend((0..16).map(|digit| digit * 0x11));
    }
    table.extend(u32s(&[3, 3]));
    for (field, metric, element, order, first_pass, dimension, rows) in
        [(0, 2, 0, 1, 0, 2, 2), (1, 0, 2, 0, 0, 2, 3), (2, 1, 0, 0, 1, 3, 3)]
    {
        let own: Vec<_> = places.iter().filter(|place| place.0 == field).collect();
        table.extend(u32s(&[field]));
        table.extend([metric, element, order, first_pass]);
        table.extend(u32s(&[dimension, rows, own.len() as u32]));
        for (_, tag, checksum, start, length) in own {
            table.extend(u32s(&[*tag, *checksum, 1]));
            table.extend([start.to_le_bytes(), length.to_le_bytes()].concat());
        }
    }
    expected.extend_from_slice(&table);
    let mut trailer = table_start.to_le_bytes().to_vec();
    trailer.extend((table.len() as u64).to_le_bytes());
    trailer.extend(u32s(&[crc32fast::hash(&table), version]));
    trailer.extend(u32s(&[crc32fast::hash(&trailer)]));
    trailer.extend_from_slice(b"TDENSVEC");
    expected.extend_from_slice(&trailer);
    expected
}

#[test]
fn golden_bytes_of_version_2() {
    let (written, expected) = (written().0, expected(2));
    let differs = written.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((written.len(), differs), (expected.len(), None));
}

#[test]
fn both_versions_are_read_and_a_file_of_another_segment_is_refused() {
    let fields = written().1;
    let open = |bytes: Vec<u8>, id: &str| {
        RowsFile::open(&FileSlice::new(Arc::new(OwnedBytes::new(bytes))), "a.vec", segment(id), &fields, 3)
    };
    let other = "ffeeddccbbaa99887766554433221100";
    for version in [1, 2] {
        let file = open(expected(version), SEGMENT).unwrap();
        file.verify(&|| Ok(())).unwrap();
        assert_eq!(file.fields()[0].vector(1), [3.0, 4.0]);
    }
    // Version 1 does not say which segment it is of.
    assert!(open(expected(1), other).is_ok());
    let said = open(expected(2), other).unwrap_err().to_string();
    assert!(said.contains("a.vec") && said.contains(&format!("written for segment {SEGMENT}")), "{said}");
    assert!(matches!(open(expected(3), SEGMENT), Err(crate::DenseError::NewerFormat { found: 3, supported: 2, .. })));
}
