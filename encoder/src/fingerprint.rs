//! SHA-256, for telling models apart.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::EncoderError;
use crate::hex::hex;

/// SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file that may be too large to hold in memory, and has at most `limit` bytes.
pub(crate) fn hex_of_file(path: &Path, limit: u64) -> Result<String, EncoderError> {
    let fault = |cause| EncoderError::Read { path: path.to_path_buf(), cause };
    let (file, _) = crate::files::open_file(path, limit)?;
    let mut file = file.take(limit);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(fault)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

/// Collects named parts; equal parts in equal order give equal fingerprints.
#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds one part. Lengths go in too, so that no two lists of parts run together to the same bytes.
    pub(crate) fn part(mut self, name: &str, value: &str) -> Self {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
        self
    }

    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest() {
        assert_eq!(hex_of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_do_not_run_together() {
        let one = Fingerprint::default().part("a", "bc").finish();
        let other = Fingerprint::default().part("ab", "c").finish();
        assert_ne!(one, other);
    }
}
