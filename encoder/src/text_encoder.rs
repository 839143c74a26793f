//! The trait that every text encoder implements.

use std::ops::Range;

use crate::error::EncoderError;
use crate::guard::guarded;

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
        encode_checked(self, texts, kind)
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

/// What [`TextEncoder::encode_checked`] does.
fn encode_checked<E: TextEncoder + ?Sized>(
    encoder: &E,
    texts: &[&str],
    kind: TextKind,
) -> Result<Vec<Vec<f32>>, EncoderError> {
    let wrong = |problem: String| EncoderError::other(format!("the model `{}` {problem}", encoder.name()));
    let vectors = guarded(|| encoder.encode(texts, kind), |message| wrong(format!("failed with a panic: {message}")))?;
    if vectors.len() != texts.len() {
        return Err(wrong(format!("gave {} vectors for {} texts", vectors.len(), texts.len())));
    }
    let dimension = encoder.dimension();
    for (position, vector) in vectors.iter().enumerate() {
        let problem = if vector.len() != dimension {
            format!("gave a vector of {} values, and its vectors have {dimension}", vector.len())
        } else if vector.iter().any(|value| !value.is_finite()) {
            "gave a vector with a value that is not a finite number".to_owned()
        } else {
            continue;
        };
        return Err(EncoderError::Text { position, cause: Box::new(wrong(problem)) });
    }
    Ok(vectors)
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

    /// Gives what a function gives.
    struct FromFunction(fn(&[&str]) -> Result<Vec<Vec<f32>>, EncoderError>);

    impl TextEncoder for FromFunction {
        fn dimension(&self) -> usize {
            2
        }

        fn fingerprint(&self) -> &str {
            "function 1"
        }

        fn name(&self) -> &str {
            "function"
        }

        fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
            (self.0)(texts)
        }
    }

    fn said_of(model: fn(&[&str]) -> Result<Vec<Vec<f32>>, EncoderError>) -> String {
        FromFunction(model).encode_checked(&["a", "b"], TextKind::Query).unwrap_err().to_string()
    }

    #[test]
    fn what_a_model_does_wrong_is_an_error() {
        assert!(said_of(|_| panic!("out of {}", "luck")).contains("`function` failed with a panic: out of luck"));
        assert!(said_of(|_| std::panic::panic_any(7)).contains("panic"));
        assert!(said_of(|_| Ok(vec![vec![0.0, 1.0]])).contains("1 vectors for 2 texts"));
        assert!(said_of(|texts| Ok(vec![vec![0.0; 2]; texts.len() + 1])).contains("3 vectors for 2 texts"));
        let said = said_of(|_| Ok(vec![vec![0.0, 1.0], vec![0.0]]));
        assert!(said.contains("text 1") && said.contains("a vector of 1 values"), "{said}");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let vectors = vec![vec![0.0, 1.0], vec![0.0, value]];
            let model = FromFunction(|_| Ok(Vec::new()));
            assert!(model.encode_checked(&[], TextKind::Query).is_ok());
            let fault = encode_checked(&Fixed(vectors), &["a", "b"], TextKind::Query).unwrap_err();
            assert!(matches!(fault, EncoderError::Text { position: 1, .. }), "{fault}");
        }
        let fault =
            FromFunction(|_| Err(EncoderError::other("no line to the model"))).encode_checked(&["a"], TextKind::Query);
        assert_eq!(fault.unwrap_err().to_string(), "no line to the model");
    }

    /// Gives these vectors.
    struct Fixed(Vec<Vec<f32>>);

    impl TextEncoder for Fixed {
        fn dimension(&self) -> usize {
            2
        }

        fn fingerprint(&self) -> &str {
            "fixed 1"
        }

        fn name(&self) -> &str {
            "fixed"
        }

        fn encode(&self, _: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
            Ok(self.0.clone())
        }
    }
}
