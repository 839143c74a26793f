//! Times that are taken in turns, and plain tables of them.

use std::time::{Duration, Instant};

/// The middle one; the earlier of two.
pub fn median(times: &[Duration]) -> Duration {
    quantile(times, 0.5)
}

pub fn quantile(times: &[Duration], at: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at) as usize).copied().unwrap_or_default()
}

/// Times of one way to do something.
#[derive(Clone, Default)]
pub struct Times {
    /// On the clock.
    pub wall: Vec<Duration>,
    /// In which this thread ran: not touched by what else the machine runs, but for the memory it shares.
    pub cpu: Vec<Duration>,
}

/// Times several ways to do the same in turns, so that whatever else the machine does meets all of them alike. Way `w` of
/// task `t` is `work(w, t)`; every way begins as often as every other.
pub fn in_turns(ways: usize, tasks: usize, rounds: usize, mut work: impl FnMut(usize, usize)) -> Vec<Times> {
    let mut times = vec![Times::default(); ways];
    for round in 0..rounds {
        for task in 0..tasks {
            for turn in 0..ways {
                let way = (turn + task + round) % ways;
                let (start, start_cpu) = (Instant::now(), crate::raw::thread_time());
                work(way, task);
                times[way].wall.push(start.elapsed());
                times[way].cpu.push(crate::raw::thread_time().saturating_sub(start_cpu));
            }
        }
    }
    times
}

/// How many times as fast as `other`, by the median on the clock and of the thread's own time.
pub fn speed(times: &Times, other: &Times) -> [String; 2] {
    let ratio = |a: &[Duration], b: &[Duration]| {
        format!("{:.2} x", median(b).as_secs_f64() / median(a).as_secs_f64().max(1e-9))
    };
    [ratio(&times.wall, &other.wall), ratio(&times.cpu, &other.cpu)]
}

/// The share of `truth` that is among `found`.
pub fn recall<T: PartialEq>(found: &[T], truth: &[T]) -> f64 {
    if truth.is_empty() {
        return 1.0;
    }
    truth.iter().filter(|one| found.contains(one)).count() as f64 / truth.len() as f64
}

pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (count, sum) = values.into_iter().fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

/// What a tenth of the times stay below: what the machine does while it is left alone.
pub fn floor(times: &[Duration]) -> Duration {
    quantile(times, 0.1)
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

/// Prints a table in Markdown.
pub fn print(head: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}
