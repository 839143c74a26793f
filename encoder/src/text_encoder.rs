//! The trait that every text encoder implements.

use std::ops::Range;

use crate::error::EncoderError;

/// What a text is: many models put a different prompt before queries and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// A search query.
    Query,
    /// A text to be found.
    Document,
}

/// Turns texts into vectors. `SentenceEncoder` (feature `onnx`) runs ONNX models; implement this trait for
/// anything else that makes vectors, such as a service or a model in another runtime.
pub trait TextEncoder: Send + Sync {
    /// Number of values in a vector.
    fn dimension(&self) -> usize;

    /// Identifies the function from text to vector: equal fingerprints give equal vectors, so an index that
    /// stores it can refuse vectors of another model.
    fn fingerprint(&self) -> &str;

    /// A short name for messages.
    fn name(&self) -> &str;

    /// One vector of [`dimension`](Self::dimension) values for each text, in the order given.
    ///
    /// # Errors
    /// When a text cannot be tokenised or the model fails; [`EncoderError::Text`] says which text, where one is to blame.
    /// Errors of other kinds go into [`EncoderError::other`].
    fn encode(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError>;

    /// As [`encode`](Self::encode), with everything an encoder may do wrong turned into an error: a panic, another number of
    /// vectors than texts, vectors of another dimension, values that are not finite. Callers that must go on use this.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and for what is listed above. Where one text is to blame and it is known which, this is
    /// [`EncoderError::Text`].
    fn encode_checked(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        crate::guard::encode(self, texts, kind)
    }

    /// The byte range of each of the pieces that the model reads a text in and measures its length by, for cutting long
    /// documents into chunks. Unless an encoder says otherwise, words between white space.
    ///
    /// # Errors
    /// When the text cannot be tokenised.
    fn token_ranges(&self, text: &str) -> Result<Vec<Range<usize>>, EncoderError> {
        let start = text.as_ptr() as usize;
        Ok(text
            .split_whitespace()
            .map(|word| {
                let at = word.as_ptr() as usize - start;
                at..at + word.len()
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tokenizer_words_count() {
        struct Nothing;
        impl TextEncoder for Nothing {
            fn dimension(&self) -> usize {
                1
            }
            fn fingerprint(&self) -> &str {
                ""
            }
            fn name(&self) -> &str {
                ""
            }
            fn encode(&self, _: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
                Ok(Vec::new())
            }
        }
        assert_eq!(Nothing.token_ranges(" ein  Wört\n").unwrap(), [1..4, 6..11]);
        assert!(Nothing.token_ranges("").unwrap().is_empty());
    }
}
