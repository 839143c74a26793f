//! What memory alone allows.

use std::hint::black_box;
use std::time::Instant;

/// Seconds to read all bytes once, adding them up as words: the median of several times.
pub fn read_seconds(bytes: &[u8]) -> f64 {
    let words: &[u64] = bytemuck::try_cast_slice(bytes).unwrap_or_default();
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            let mut sums = [0_u64; 32];
            for words in words.chunks_exact(32) {
                sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            }
            black_box(sums);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
