//! Steps that do not fit in memory: what comes out of them is what smaller batches give from the start.

use super::*;
use crate::adam::loss::contrastive;
use crate::model::Student;
use crate::torch::{Machine, MemorySize};
use std::path::Path;
use tch::Device;

fn student() -> Student {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert");
    Student::open(&folder, Machine::CPU).unwrap()
}

/// Six queries and as many passages, of different lengths.
fn groups() -> Vec<Group> {
    let text = |at: usize, length: usize| {
        let ids: Vec<u32> = (0..length).map(|place| 5 + ((at * 11 + place * 5) % 40) as u32).collect();
        Sequence { second: length, ids: ids.into() }
    };
    let limits = BatchLimits { max_tokens: 4096, max_texts: 64, max_padding: 0.05 };
    vec![
        Group { sequences: (0..6).map(|i| text(i, 3 + i % 3)).collect(), limits },
        Group { sequences: (0..6).map(|i| text(7 + i, 8 + 2 * i)).collect(), limits },
    ]
}

/// What a step said and did.
struct Done {
    loss: f64,
    gradients: Vec<Tensor>,
    cap: usize,
}

fn step(packed: bool, dropout: f64, cap: usize, budget: Budget) -> Result<Done, TrainError> {
    let student = student();
    let layout = Layout { packed, ..student.encoder.layout() };
    let reporter = Reporter::silent();
    let bound = MemoryBound::new("test", &reporter, cap);
    let work = Work::new(groups(), layout, bound.cap())?;
    let most_tokens = if cap == usize::MAX { 1 << 20 } else { cap };
    let pass = Pass { mode: Mode { compute: Kind::Float, dropout }, most_tokens, seed: 5, budget };
    let allowed = Tensor::ones([6, 6], (Kind::Bool, Device::Cpu));
    let columns = Tensor::arange(6, (Kind::Int64, Device::Cpu));
    let parameters = student.encoder.parameters.tensors();
    let computed = bound.run(&pass, work, parameters, &|input, mode| student.embed(input, mode), &mut |rows| {
        let scores = rows[0].f_matmul(&rows[1].f_transpose(0, 1)?)?.f_mul_scalar(20.0)?;
        Ok(contrastive(&scores, &allowed, &columns)?.f_mean(Kind::Float)?)
    })?;
    let gradients = parameters.iter().map(|p| p.grad().copy()).collect();
    Ok(Done { loss: computed.loss.read()?, gradients, cap: bound.cap() })
}

fn limit(tokens: u64) -> Budget {
    Budget { limit: Some(MemorySize(1_000 + 10 * tokens)), fixed: 1_000, per_token: 10 }
}

#[test]
fn a_step_that_does_not_fit_is_done_in_halves() {
    for packed in [false, true] {
        let free = step(packed, 0.0, usize::MAX, Budget::default()).unwrap();
        assert_eq!(free.cap, usize::MAX, "nothing was wanting");
        // 102 tokens in all, 18 in the longest text.
        let tight = step(packed, 0.0, usize::MAX, limit(40)).unwrap();
        assert!((18..=40).contains(&tight.cap), "{}", tight.cap);
        let same = step(packed, 0.0, tight.cap, Budget::default()).unwrap();
        assert_eq!(tight.loss, same.loss);
        assert_eq!(tight.gradients, same.gradients, "as if asked for so from the start, bit for bit");
        assert!((tight.loss - free.loss).abs() < 1e-5);
        for (a, b) in tight.gradients.iter().zip(&free.gradients) {
            let scale = b.abs().max().double_value(&[]).max(1.0);
            assert!((a - b).abs().max().double_value(&[]) < 1e-5 * scale, "the gradients of one pass");
        }
    }
}

#[test]
fn what_dropout_drops_is_that_of_the_smaller_batches() {
    // The one unit test that draws from libtorch's generator, which all threads share.
    let tight = step(true, 0.3, usize::MAX, limit(40)).unwrap();
    let same = step(true, 0.3, tight.cap, Budget::default()).unwrap();
    assert_eq!(tight.loss, same.loss);
    assert_eq!(tight.gradients, same.gradients);
    let plain = step(true, 0.0, tight.cap, Budget::default()).unwrap();
    assert_ne!(tight.loss, plain.loss);
}

#[test]
fn a_text_that_does_not_fit_alone_is_an_error_that_says_so() {
    for packed in [false, true] {
        let error = step(packed, 0.0, usize::MAX, limit(10)).err().expect("18 tokens do not fit where 10 do");
        assert!(matches!(error, TrainError::OutOfMemory(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("18 tokens") && text.contains("passage_length"), "{text}");
    }
}

#[test]
fn an_error_that_is_not_about_memory_ends_the_step_at_once() {
    let student = student();
    let reporter = Reporter::silent();
    let bound = MemoryBound::new("test", &reporter, usize::MAX);
    let work = Work::new(groups(), student.encoder.layout(), bound.cap()).unwrap();
    let mode = Mode { compute: Kind::Float, dropout: 0.0 };
    let pass = Pass { mode, most_tokens: 1 << 20, seed: 1, budget: Budget::default() };
    let error = bound
        .run(&pass, work, &[], &|input, mode| student.embed(input, mode), &mut |rows| Ok(rows[0].f_matmul(&rows[1])?));
    assert!(matches!(error, Err(TrainError::Torch(_))));
    assert_eq!(bound.cap(), usize::MAX);
}
