//! The one thread that uses a device. It takes everything that waits, puts what goes together into one call, and
//! answers each; whatever goes wrong becomes a reason that the waiting thread is told.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::backend::{Backend, LengthMeter, Nearest, Trouble};
use super::blocks::{Blocks, Key};
use super::options::DeviceOptions;
use super::state::State;
use crate::ann::{AnnIndex, RowSource, Similarity};

/// What a block is made from.
pub(crate) trait Source: Send + Sync {
    fn rows(&self) -> &dyn RowSource;
    fn dimension(&self) -> usize;
    fn similarity(&self) -> Similarity;
    /// The inverted file over the rows, where there is one, and about how many bytes it takes.
    fn lists(&self) -> Option<(&AnnIndex, u64)>;
}

/// Bytes of rows on a device: their values, and a squared length each where distances are computed.
pub(crate) fn rows_bytes(source: &dyn Source) -> u64 {
    let a_row = source.dimension() * 4 + if source.similarity() == Similarity::SquaredL2 { 4 } else { 0 };
    source.rows().len() as u64 * a_row as u64
}

/// Queries for one block, from a thread that waits for the reply.
pub(super) struct Ask {
    pub key: Key,
    /// Who asks: see [`Blocks::release`].
    pub token: u64,
    pub source: Arc<dyn Source>,
    /// One after another; none at all to have the block copied.
    pub queries: Vec<f32>,
    pub k: usize,
    pub nprobe: usize,
    pub reply: SyncSender<Result<Answer, String>>,
}

impl Ask {
    fn count(&self) -> usize {
        self.queries.len() / self.source.dimension().max(1)
    }

    /// Asks of one kind are put into one call.
    fn kind(&self) -> (Key, usize, usize) {
        (self.key, self.k, self.nprobe)
    }
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub nearest: Nearest,
    /// Rows of the block.
    pub rows: usize,
    /// No row of the block is longer.
    pub longest: f32,
    /// Queries in the call that this was part of.
    pub batch: usize,
}

pub(super) enum Message {
    Ask(Ask),
    /// The segment of these blocks is closed.
    Release(Key, u64),
}

/// The device while it works, with what is on it; the blocks go before the device does.
struct Session<B: Backend> {
    blocks: Blocks<B::Block>,
    backend: B,
    uploads: u64,
    refused: Refusals,
}

/// Copies that failed, with the reason: a copy reads a whole segment, too much to be tried again for every query.
struct Refusals {
    reasons: HashMap<Key, (Instant, String)>,
    /// How long a reason holds.
    hold: Duration,
}

impl Refusals {
    fn reason(&self, key: &Key) -> Option<&str> {
        let (since, why) = self.reasons.get(key)?;
        (since.elapsed() < self.hold).then_some(why)
    }

    fn remember(&mut self, key: Key, why: &str) {
        self.reasons.insert(key, (Instant::now(), why.to_owned()));
    }
}

/// Serves until nobody can ask any more.
pub(super) fn run<B: Backend>(
    open: impl FnOnce() -> Result<B, String>,
    messages: &Receiver<Message>,
    state: &State,
    options: &DeviceOptions,
) {
    let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| Err(words(panic.as_ref())));
    let mut live = match opened {
        Ok(backend) => {
            let limit = options.memory_bytes.unwrap_or_else(|| backend.memory());
            let blocks = Blocks::new(limit, options.keep);
            state.opened(limit, options.most.min(backend.most()));
            let refused = Refusals { reasons: HashMap::new(), hold: options.keep };
            Some(Session { blocks, backend, uploads: 0, refused })
        }
        Err(why) => {
            state.lost(why);
            None
        }
    };
    while let Ok(first) = messages.recv() {
        let mut groups: Vec<VecDeque<Ask>> = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match (message, &mut live) {
                (Message::Release(key, token), Some(live)) => {
                    live.blocks.release(&key, token);
                    live.refused.reasons.remove(&key);
                }
                (Message::Release(..), None) => {}
                (Message::Ask(ask), _) => {
                    match groups.iter_mut().find(|group| group.front().is_some_and(|first| first.kind() == ask.kind()))
                    {
                        Some(group) => group.push_back(ask),
                        None => groups.push(VecDeque::from([ask])),
                    }
                }
            }
        }
        for mut group in groups {
            while !group.is_empty() {
                serve(&mut live, next_call(&mut group, options.batch), state);
            }
        }
        if let Some(live) = &live {
            live.tell(state);
        }
    }
    end(live.take());
}

/// As many asks as go into one call, one at least.
fn next_call(group: &mut VecDeque<Ask>, most: usize) -> Vec<Ask> {
    let mut call: Vec<Ask> = Vec::new();
    let mut queries = 0;
    while let Some(ask) = group.pop_front() {
        queries += ask.count();
        if queries > most && !call.is_empty() {
            group.push_front(ask);
            break;
        }
        call.push(ask);
    }
    call
}

/// Answers all of `call`, which are of one kind.
fn serve<B: Backend>(live: &mut Option<Session<B>>, call: Vec<Ask>, state: &State) {
    let outcome = match live {
        None => Err(Trouble::Lost(state.reason())),
        Some(live) => {
            // What the panic leaves half done is not looked at again: the device counts as lost.
            let answered = catch_unwind(AssertUnwindSafe(|| live.answer(&call)));
            answered.unwrap_or_else(|panic| Err(Trouble::Lost(words(panic.as_ref()))))
        }
    };
    let why = match outcome {
        Ok(answer) => {
            // Counted before the first is told, so that whoever has an answer finds it counted.
            state.count(call.iter().map(Ask::count).sum());
            if let Some(live) = live {
                live.tell(state);
            }
            let k = call.first().map_or(0, |ask| ask.k);
            let (mut similarities, mut rows) = (answer.nearest.similarities.as_slice(), answer.nearest.rows.as_slice());
            for ask in call {
                let places = ask.count() * k;
                let (these, others) = similarities.split_at(places.min(similarities.len()));
                let (of, others_of) = rows.split_at(places.min(rows.len()));
                (similarities, rows) = (others, others_of);
                let nearest = Nearest { similarities: these.to_vec(), rows: of.to_vec() };
                // Nobody may be waiting any more.
                let _ = ask.reply.send(Ok(Answer { nearest, ..answer }));
            }
            return;
        }
        Err(Trouble::Refused(why) | Trouble::Full(why)) => why,
        Err(Trouble::Lost(why)) => {
            if live.is_some() {
                tracing::error!("{} is not used any more: {why}", state.name());
                state.lost(why.clone());
                // Not closed: faiss ends the whole process when CUDA refuses to free what a lost device held.
                std::mem::forget(live.take());
            }
            why
        }
    };
    state.failed();
    for ask in call {
        let _ = ask.reply.send(Err(why.clone()));
    }
}

/// Closes a device that may be in any state.
fn end<B: Backend>(live: Option<Session<B>>) {
    // There is nobody left to tell.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(live)));
}

impl<B: Backend> Session<B> {
    fn answer(&mut self, call: &[Ask]) -> Result<Answer, Trouble> {
        let Some(first) = call.first() else { return Err(Trouble::Refused("nothing was asked".to_owned())) };
        let (key, k) = (first.key, first.k);
        self.copy(first)?;
        let queries: Vec<f32> = call.iter().flat_map(|ask| ask.queries.iter().copied()).collect();
        let batch = call.iter().map(Ask::count).sum::<usize>();
        loop {
            let Some(kept) = self.blocks.touch(&key, first.token) else {
                return Err(Trouble::Refused("its rows are not there".to_owned()));
            };
            if batch == 0 {
                let nearest = Nearest::default();
                return Ok(Answer { nearest, rows: kept.rows, longest: kept.longest, batch });
            }
            match self.backend.nearest(&kept.block, &queries, k, first.nprobe) {
                Ok(nearest) => {
                    if nearest.rows.len() != batch * k || nearest.similarities.len() != batch * k {
                        let places = nearest.rows.len();
                        return Err(Trouble::Refused(format!("it gave {places} places for {batch} queries of {k}")));
                    }
                    return Ok(Answer { nearest, rows: kept.rows, longest: kept.longest, batch });
                }
                // A search takes memory, too.
                Err(Trouble::Full(why)) => {
                    if !self.blocks.evict_one(Some(&key)) {
                        return Err(Trouble::Refused(why));
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Sees to it that the block is there.
    fn copy(&mut self, ask: &Ask) -> Result<(), Trouble> {
        if self.blocks.contains(&ask.key) {
            return Ok(());
        }
        let source = ask.source.as_ref();
        let (count, dimension) = (source.rows().len(), source.dimension());
        let lists = if ask.key.lists { source.lists() } else { None };
        let bytes = match lists {
            Some((_, bytes)) => bytes,
            None if ask.key.lists => return Err(Trouble::Refused("the segment has no lists".to_owned())),
            None => rows_bytes(source),
        };
        if let Some(why) = self.refused.reason(&ask.key) {
            return Err(Trouble::Refused(why.to_owned()));
        }
        loop {
            self.blocks.make_room(bytes).map_err(Trouble::Refused)?;
            let (copied, longest) = match lists {
                Some((index, _)) => (self.backend.copy_lists(index), 0.0),
                None => {
                    let measured = LengthMeter::new(source.rows(), dimension);
                    (self.backend.copy_rows(&measured, source.similarity(), dimension), measured.longest())
                }
            };
            match copied {
                Ok(block) => {
                    self.uploads += 1;
                    self.blocks.insert(ask.key, block, bytes, (count, longest), ask.token);
                    return Ok(());
                }
                // The limit promised more than there is.
                Err(Trouble::Full(why)) => {
                    if !self.blocks.evict_one(None) {
                        self.refused.remember(ask.key, &why);
                        return Err(Trouble::Refused(why));
                    }
                }
                Err(Trouble::Refused(why)) => {
                    self.refused.remember(ask.key, &why);
                    return Err(Trouble::Refused(why));
                }
                Err(lost) => return Err(lost),
            }
        }
    }

    fn tell(&self, state: &State) {
        let blocks = &self.blocks;
        state.tell(blocks.len(), blocks.bytes(), blocks.limit(), self.uploads, blocks.evicted());
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("its thread panicked: {}", said.unwrap_or("without words"))
}
