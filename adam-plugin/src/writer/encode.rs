//! From texts to vectors, whatever the model does.

use adam_encoder::{EncoderError, TextEncoder, TextKind};

use super::shared::Shared;

/// Most texts given to the model at once. After a failure only these are tried again in smaller groups, and a writer that is to
/// end waits for these only.
const MAX_TEXTS: usize = 256;

/// The vector of each text, or what is wrong with it.
pub(super) fn texts(encoder: &dyn TextEncoder, shared: &Shared, texts: &[String]) -> Vec<Result<Vec<f32>, String>> {
    let mut encoded = Vec::with_capacity(texts.len());
    for some in texts.chunks(MAX_TEXTS) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        encoded.extend(together(encoder, shared, &some));
    }
    encoded
}

/// Encodes texts together. Where that fails, a text that is known to be to blame is set aside; else the texts are halved until
/// those that fail are alone, so that a bad text does not take others with it.
fn together(encoder: &dyn TextEncoder, shared: &Shared, texts: &[&str]) -> Vec<Result<Vec<f32>, String>> {
    let mut encoded: Vec<Result<Vec<f32>, String>> = vec![Err("it was not encoded".to_owned()); texts.len()];
    let mut groups: Vec<Vec<usize>> = vec![(0..texts.len()).collect()];
    while let Some(mut group) = groups.pop() {
        let some: Vec<&str> = group.iter().map(|&at| texts[at]).collect();
        let done = encoder.encode_checked(&some, TextKind::Document);
        shared.beat();
        match done {
            Ok(vectors) => {
                for (&at, vector) in group.iter().zip(vectors) {
                    encoded[at] = Ok(vector);
                }
            }
            Err(EncoderError::Text { position, cause }) if position < group.len() => {
                encoded[group.remove(position)] = Err(cause.to_string());
                if !group.is_empty() {
                    groups.push(group);
                }
            }
            Err(fault) if group.len() == 1 => encoded[group[0]] = Err(fault.to_string()),
            Err(fault) => {
                tracing::warn!("{} texts failed together ({fault}); trying them in two halves", group.len());
                let second = group.split_off(group.len() / 2);
                groups.extend([second, group]);
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Panics at texts with `poison`, and says which text it is where that has `known`; notes what it was asked.
    #[derive(Default)]
    struct Picky {
        asked: Mutex<Vec<usize>>,
    }

    impl TextEncoder for Picky {
        fn dimension(&self) -> usize {
            1
        }

        fn fingerprint(&self) -> &str {
            "picky 1"
        }

        fn name(&self) -> &str {
            "picky"
        }

        fn encode(&self, texts: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
            self.asked.lock().unwrap().push(texts.len());
            if let Some(position) = texts.iter().position(|text| text.contains("known")) {
                return Err(EncoderError::Text { position, cause: Box::new(EncoderError::other("known to be bad")) });
            }
            assert!(!texts.iter().any(|text| text.contains("poison")), "poisoned");
            Ok(texts.iter().map(|text| vec![text.len() as f32]).collect())
        }
    }

    fn encoded(all: &[&str]) -> (Vec<Result<Vec<f32>, String>>, Vec<usize>) {
        let model = Picky::default();
        let all: Vec<String> = all.iter().map(|text| (*text).to_owned()).collect();
        let encoded = texts(&model, &Shared::default(), &all);
        (encoded, model.asked.into_inner().unwrap())
    }

    #[test]
    fn bad_texts_take_no_others_with_them() {
        let mut all = vec!["ab"; 100];
        let (bad, known) = ([3, 4, 99], [0, 50]);
        bad.iter().for_each(|&at| all[at] = "poison");
        known.iter().for_each(|&at| all[at] = "known");
        let (encoded, asked) = encoded(&all);
        assert_eq!(encoded.len(), all.len());
        for (at, result) in encoded.iter().enumerate() {
            match result {
                Ok(vector) => assert!(vector == &[2.0] && !bad.contains(&at) && !known.contains(&at), "{at}"),
                Err(fault) if known.contains(&at) => assert_eq!(fault, "known to be bad"),
                Err(fault) => assert!(bad.contains(&at) && fault.contains("panic: poisoned"), "{at}: {fault}"),
            }
        }
        assert!(asked.len() < 50, "halving, not one by one: {asked:?}");
    }

    #[test]
    fn a_model_that_always_fails_fails_each_text() {
        let (encoded, _) = encoded(&["poison"; 7]);
        assert!(encoded.iter().all(Result::is_err));
        assert!(self::encoded(&[]).0.is_empty());
    }
}
