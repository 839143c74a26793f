//! A program as a voice: pairs go in as JSON lines, one number a line comes out.

use crate::error::TrainError;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A pair as the program reads it, with names for messages.
pub(crate) struct Asked {
    pub(crate) query_id: String,
    pub(crate) passage_id: String,
    pub(crate) query: String,
    pub(crate) passage: String,
}

/// Ends the program when it is dropped, however the caller leaves.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the program is.
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [String],
    /// Longest time without an answer.
    pub(crate) timeout: Duration,
    pub(crate) stop: &'a AtomicBool,
}

fn fault(problem: String) -> TrainError {
    TrainError::Voice { voice: "command".to_owned(), problem }
}

impl Program<'_> {
    /// Starts it once for all pairs and hands each answer to `take`, in the order of the pairs.
    ///
    /// # Errors
    /// When it cannot be started, dies, does not answer in time or answers with something that is no finite number: with the pair.
    pub(crate) fn score(
        &self,
        pairs: &[Asked],
        take: &mut dyn FnMut(usize, f32) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let Some((name, arguments)) = self.command.split_first() else {
            return Err(TrainError::internal("a voice of kind `command` has no command"));
        };
        if pairs.is_empty() {
            return Ok(());
        }
        let child = Command::new(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut running = Running(child.map_err(|e| fault(format!("`{name}` cannot be started: {e}")))?);
        let (Some(mut input), Some(output)) = (running.0.stdin.take(), running.0.stdout.take()) else {
            return Err(TrainError::internal("a started program has no pipes"));
        };
        let lines: Vec<String> = pairs
            .iter()
            .map(|pair| serde_json::json!({ "query": pair.query, "passage": pair.passage }).to_string())
            .collect();
        let (sender, receiver) = channel();
        // Threads of their own for both pipes: a program may read all before it writes, or answer line by line. They are not waited
        // for: a process that the program has started may hold its pipes open after it was ended.
        std::thread::spawn(move || {
            for line in lines {
                // A program that has ended is noticed by its output.
                if writeln!(input, "{line}").is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let outcome = self.answers(pairs, &receiver, take);
        drop(running);
        outcome
    }

    fn answers(
        &self,
        pairs: &[Asked],
        receiver: &std::sync::mpsc::Receiver<std::io::Result<String>>,
        take: &mut dyn FnMut(usize, f32) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        for (at, pair) in pairs.iter().enumerate() {
            let of = || {
                format!("pair {} of {} (query `{}`, passage `{}`)", at + 1, pairs.len(), pair.query_id, pair.passage_id)
            };
            let waited = Instant::now();
            let line = loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(TrainError::Interrupted);
                }
                match receiver.recv_timeout(Duration::from_millis(200).min(self.timeout)) {
                    Ok(line) => {
                        break line.map_err(|e| fault(format!("its output cannot be read at {}: {e}", of())))?;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(fault(format!("the program ended before it answered {}", of())));
                    }
                    Err(RecvTimeoutError::Timeout) if waited.elapsed() >= self.timeout => {
                        return Err(fault(format!(
                            "no answer in {} s to {}; raise `timeout_seconds`, or flush the output after each line",
                            self.timeout.as_secs_f64(),
                            of()
                        )));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            };
            let score: Option<f32> = line.trim().parse().ok();
            match score.filter(|score| score.is_finite()) {
                Some(score) => take(at, score)?,
                None => {
                    let said: String = line.chars().take(60).collect();
                    return Err(fault(format!("answered `{said}` to {}, which is no finite number", of())));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize) -> Vec<Asked> {
        let pair = |i: usize| Asked {
            query_id: format!("q{i}"),
            passage_id: format!("p{i}"),
            query: format!("query {i}"),
            passage: "a passage\nof two lines".to_owned(),
        };
        (0..count).map(pair).collect()
    }

    /// A shell line as the program; what it said, or the error.
    fn ask(script: &str, count: usize, timeout: f64) -> Result<Vec<f32>, String> {
        let command = ["sh", "-c", script].map(str::to_owned);
        let stop = AtomicBool::new(false);
        let program = Program { command: &command, timeout: Duration::from_secs_f64(timeout), stop: &stop };
        let mut said = Vec::new();
        let take = &mut |at: usize, score: f32| {
            assert_eq!(at, said.len());
            said.push(score);
            Ok(())
        };
        program.score(&pairs(count), take).map_err(|e| e.to_string())?;
        Ok(said)
    }

    #[test]
    fn answers_come_in_order_whether_at_once_or_at_the_end() {
        let by_line = "n=0; while read -r line; do n=$((n+1)); echo $n.5; done";
        assert_eq!(ask(by_line, 3, 20.0), Ok(vec![1.5, 2.5, 3.5]));
        let at_end = "cat > /dev/null; echo 1; echo 2";
        assert_eq!(ask(at_end, 2, 20.0), Ok(vec![1.0, 2.0]));
        assert_eq!(ask("exit 3", 0, 20.0), Ok(vec![]));
    }

    #[test]
    fn one_that_dies_hangs_or_answers_nonsense_is_named_with_the_pair() {
        let died = ask("read -r line; echo 1", 3, 20.0).unwrap_err();
        assert!(died.contains("ended before it answered pair 2 of 3 (query `q1`, passage `p1`)"), "{died}");
        let hung = ask("read -r line; echo 1; sleep 60", 3, 0.3).unwrap_err();
        assert!(hung.contains("no answer in 0.3 s to pair 2 of 3"), "{hung}");
        let odd = ask("echo 1; echo nan", 3, 20.0).unwrap_err();
        assert!(odd.contains("answered `nan` to pair 2 of 3"), "{odd}");
        let command = ["no-such-program-here".to_owned()];
        let stop = AtomicBool::new(false);
        let program = Program { command: &command, timeout: Duration::from_secs(1), stop: &stop };
        let missing = program.score(&pairs(1), &mut |_, _| Ok(())).unwrap_err().to_string();
        assert!(missing.contains("cannot be started"), "{missing}");
    }
}
