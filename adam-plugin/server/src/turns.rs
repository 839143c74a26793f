//! Turns for long work: one piece at a time, so that short requests get a processor in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Long work, in bytes of text a second, as one core does it with a small model. Only the proportions matter.
const RATE: u64 = 40_000;

/// When work that begins now would be done if it were alone. Whoever is due first has the next turn: what is short passes what is
/// long, and what has waited long is passed by nothing that comes later.
pub(crate) fn due(bytes: usize) -> Instant {
    Instant::now() + Duration::from_millis(bytes as u64 * 1000 / RATE)
}

/// The queue. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    is_taken: bool,
    tickets: u64,
    waiting: BTreeMap<(Instant, u64), oneshot::Sender<Turn>>,
}

/// A turn; the next begins when it is dropped.
pub(crate) struct Turn(Turns);

impl Turns {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; gives up when dropped.
    pub(crate) async fn take(&self, due: Instant) -> Turn {
        let next = {
            let mut queue = self.queue();
            if !queue.is_taken {
                queue.is_taken = true;
                return Turn(self.clone());
            }
            let (sender, next) = oneshot::channel();
            let ticket = queue.tickets;
            queue.tickets += 1;
            queue.waiting.insert((due, ticket), sender);
            next
        };
        // A sender leaves the queue only to send.
        next.await.unwrap_or_else(|_| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.queue();
            let next = queue.waiting.pop_first();
            queue.is_taken = next.is_some();
            next
        };
        if let Some((_, next)) = next {
            // Of one that no longer waits the turn comes back, is dropped, and goes to the one behind it.
            drop(next.send(Turn(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_due_first_is_next_and_who_left_is_passed_over() {
        let turns = Turns::default();
        let first = turns.take(due(0)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (name, bytes) in [("long", 4_000_000), ("left", 400), ("short", 4_000), ("middle", 400_000)] {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            let when = due(bytes);
            tasks.push(tokio::spawn(async move {
                let _turn = turns.take(when).await;
                order.lock().unwrap().push(name);
            }));
            tokio::task::yield_now().await;
        }
        tasks.remove(1).abort();
        tokio::task::yield_now().await;
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["short", "middle", "long"]);
        // Nothing is left that would hold the turn.
        drop(turns.take(due(0)).await);
        assert!(!turns.queue().is_taken);
    }
}
