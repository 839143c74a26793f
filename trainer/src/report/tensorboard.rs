//! Event files as TensorBoard reads them: protobuf records framed by lengths and CRC-32C sums.

use crate::error::TrainError;
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// One record.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// Writes one event file.
#[derive(Debug)]
pub(super) struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// A new file in a folder; TensorBoard joins all files of a folder into one run.
    pub(super) fn open(folder: &Path) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        let now = now();
        let path = folder.join(format!("events.out.tfevents.{:010}.adam.{}", now as u64, std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| TrainError::io(&path, e))?;
        let mut writer = Self { path, file };
        writer.record(&Event {
            wall_time: now,
            step: 0,
            file_version: Some("brain.Event:2".to_owned()),
            summary: None,
        })?;
        Ok(writer)
    }

    /// Scalars of a step.
    pub(super) fn write(&mut self, step: i64, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let value = values
            .iter()
            .map(|(tag, value)| SummaryValue { tag: (*tag).to_owned(), simple_value: *value as f32 })
            .collect();
        self.record(&Event { wall_time: now(), step, file_version: None, summary: Some(Summary { value }) })
    }

    fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        let bytes = frame(&event.encode_to_vec());
        self.file.write_all(&bytes).map_err(|e| TrainError::io(&self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Length, its sum, the bytes, their sum.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 16);
    out.extend(length);
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(bytes);
    out.extend(masked(crc32c(bytes)).to_le_bytes());
    out
}

/// The format stores sums turned and shifted, so that a sum over data that holds sums stays sound.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, bit by bit: a record is a few hundred bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnolis() {
        // The check value of the catalogue of CRCs, and the first one of RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0u8; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::open(folder.path()).unwrap();
        writer.write(7, &[("loss", 0.5)]).unwrap();
        let bytes = std::fs::read(&writer.path).unwrap();
        let first = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let second = &bytes[first + 16..];
        let length = u64::from_le_bytes(second[..8].try_into().unwrap()) as usize;
        let event = Event::decode(&second[12..12 + length]).unwrap();
        assert_eq!(event.step, 7);
        assert_eq!(event.summary.unwrap().value[0].tag, "loss");
        assert_eq!(second.len(), length + 16);
    }
}
