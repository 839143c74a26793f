//! Where code of others runs: a panic inside a tokenizer or a model becomes an error of the text at hand.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::EncoderError;
use crate::text_encoder::{TextEncoder, TextKind};

/// Does `work`; a panic in it becomes the error that `fault` makes of its message.
///
/// What `work` changes must be of no use afterwards, or whole after every statement.
pub(crate) fn guarded<T>(
    work: impl FnOnce() -> Result<T, EncoderError>,
    fault: impl FnOnce(String) -> EncoderError,
) -> Result<T, EncoderError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(fault(said(payload.as_ref()))))
}

/// The message of a panic.
pub(crate) fn said(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// What [`TextEncoder::encode_checked`] does.
pub(crate) fn encode<E: TextEncoder + ?Sized>(
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

    /// Does what it is told.
    struct Told(fn(&[&str]) -> Result<Vec<Vec<f32>>, EncoderError>);

    impl TextEncoder for Told {
        fn dimension(&self) -> usize {
            2
        }

        fn fingerprint(&self) -> &str {
            "told 1"
        }

        fn name(&self) -> &str {
            "told"
        }

        fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
            (self.0)(texts)
        }
    }

    fn said_of(model: fn(&[&str]) -> Result<Vec<Vec<f32>>, EncoderError>) -> String {
        Told(model).encode_checked(&["a", "b"], TextKind::Query).unwrap_err().to_string()
    }

    #[test]
    fn what_a_model_does_wrong_is_an_error() {
        assert!(said_of(|_| panic!("out of {}", "luck")).contains("`told` failed with a panic: out of luck"));
        assert!(said_of(|_| std::panic::panic_any(7)).contains("panic"));
        assert!(said_of(|_| Ok(vec![vec![0.0, 1.0]])).contains("1 vectors for 2 texts"));
        assert!(said_of(|texts| Ok(vec![vec![0.0; 2]; texts.len() + 1])).contains("3 vectors for 2 texts"));
        let said = said_of(|_| Ok(vec![vec![0.0, 1.0], vec![0.0]]));
        assert!(said.contains("text 1") && said.contains("a vector of 1 values"), "{said}");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let vectors = vec![vec![0.0, 1.0], vec![0.0, value]];
            let model = Told(|_| Ok(Vec::new()));
            assert!(model.encode_checked(&[], TextKind::Query).is_ok());
            let fault = encode(&Fixed(vectors), &["a", "b"], TextKind::Query).unwrap_err();
            assert!(matches!(fault, EncoderError::Text { position: 1, .. }), "{fault}");
        }
        let fault = Told(|_| Err(EncoderError::other("no line to the model"))).encode_checked(&["a"], TextKind::Query);
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
