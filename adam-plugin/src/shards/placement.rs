//! Which shard a document belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Document;
use crate::error::PluginError;

/// Most shards of an index.
const MAX_SHARDS: u32 = 4096;

/// Which shard a document belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// By the SHA-256 of its key. Documents can be updated and deleted by key.
    #[default]
    Hash,
    /// By its place in the input: the first rows in the first shard. For bulk builds that are not updated.
    Range,
}

impl fmt::Display for Placement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Hash => "hash",
            Self::Range => "range",
        })
    }
}

/// One shard of several, counted from 0: `3/64` is the fourth of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which one.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl Part {
    /// Whether a document is of this part: `row` is its place in the input, of `rows`.
    pub fn holds(self, placement: Placement, key: &str, row: u64, rows: u64) -> bool {
        let of = u64::from(self.of.max(1));
        let number = match placement {
            Placement::Hash => hash(key) % of,
            // The first shards have one row more where they do not divide evenly.
            Placement::Range => {
                let (each, more) = (rows / of, rows % of);
                let longer = more * (each + 1);
                if row < longer { row / (each + 1) } else { more + (row - longer) / each.max(1) }
            }
        };
        number == u64::from(self.number)
    }

    /// The part that a key belongs to, of so many.
    pub fn of_key(key: &str, of: u32) -> Self {
        let number = u32::try_from(hash(key) % u64::from(of.max(1))).unwrap_or_default();
        Self { number, of }
    }

    /// The name of its folder.
    pub(super) fn folder(self) -> String {
        format!("shard-{:04}", self.number)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || PluginError::Setting {
            name: "part",
            problem: format!(
                "is `{}`; use NUMBER/OF with a number from 0, such as 0/4 to 3/4, of at most {MAX_SHARDS}",
                { text.chars().take(40).collect::<String>() }
            ),
        };
        let (number, of) = text.split_once('/').ok_or_else(refuse)?;
        let part =
            Self { number: number.trim().parse().map_err(|_| refuse())?, of: of.trim().parse().map_err(|_| refuse())? };
        if part.number < part.of && part.of <= MAX_SHARDS { Ok(part) } else { Err(refuse()) }
    }
}

/// The first eight bytes of the SHA-256, so that any other program can compute it.
fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

/// Identifies documents by what they say, in the order they come.
#[derive(Clone, Debug, Default)]
pub struct Content {
    digest: Sha256,
    documents: u64,
    bytes: u64,
}

impl Content {
    /// Takes a document in.
    pub fn add(&mut self, document: &Document) {
        let mut part = |bytes: &[u8]| {
            self.digest.update((bytes.len() as u64).to_le_bytes());
            self.digest.update(bytes);
            self.bytes += bytes.len() as u64;
        };
        part(document.id.as_bytes());
        part(document.title.as_bytes());
        part(document.text.as_bytes());
        part(serde_json::to_string(&document.metadata).unwrap_or_default().as_bytes());
        for value in document.vector.iter().flatten() {
            part(&value.to_le_bytes());
        }
        self.documents += 1;
    }

    /// How many there were.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Bytes of their keys, texts and metadata.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 of all, as hexadecimal digits.
    pub fn sha256(&self) -> String {
        self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_of_exactly_one_part(rows in 0u64..300, of in 1u32..40, hashed in any::<bool>()) {
            let placement = if hashed { Placement::Hash } else { Placement::Range };
            let mut sizes = vec![0u64; of as usize];
            for row in 0..rows {
                let key = format!("key {row}");
                let holders: Vec<u32> =
                    (0..of).filter(|&number| Part { number, of }.holds(placement, &key, row, rows)).collect();
                prop_assert_eq!(holders.len(), 1);
                sizes[holders[0] as usize] += 1;
                if hashed {
                    prop_assert_eq!(Part::of_key(&key, of).number, holders[0]);
                }
            }
            if !hashed {
                let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{:?}", sizes);
            }
        }
    }

    #[test]
    fn parts_are_read_and_wrong_ones_are_named() {
        assert_eq!("3/64".parse::<Part>().unwrap(), Part { number: 3, of: 64 });
        for wrong in ["", "3", "4/4", "-1/4", "1/0", "a/b", "0/5000", "1/2/3"] {
            let said = wrong.parse::<Part>().unwrap_err().to_string();
            assert!(said.contains(&format!("`{wrong}`")), "{said}");
        }
    }

    /// Whoever places documents elsewhere relies on it.
    #[test]
    fn the_hash_of_a_key_stays_what_it_is() {
        assert_eq!([1, 2, 4, 7, 64].map(|of| Part::of_key("4983", of).number), PLACES);
    }

    /// By Python: int.from_bytes(hashlib.sha256(b"4983").digest()[:8], "big") % of.
    const PLACES: [u32; 5] = [0, 1, 1, 3, 45];
}
