//! Stands in for a model: texts that share pieces of words get vectors that point the same way.
//!
//! Each three letters in a row add 1 to one of the vector's values, chosen by a hash. A real program calls a model here and
//! changes nothing else.

/// Values of a vector.
pub(crate) const DIMENSION: usize = 256;

/// The vector of a text.
pub(crate) fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSION];
    for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = format!("_{word}_").chars().collect();
        for three in letters.windows(3) {
            let hash =
                three.iter().fold(2_166_136_261_u32, |hash, &letter| (hash ^ letter as u32).wrapping_mul(16_777_619));
            vector[(hash >> 16) as usize % DIMENSION] += 1.0;
        }
    }
    vector
}
