//! Searching on a device: a GPU, or the processor in its place.
//!
//! A device keeps a copy of each segment's rows, made once, and compares all of them with every query that waits.
//! [`docs::searching_on_a_gpu`](crate::docs::searching_on_a_gpu) says when that pays.
//!
//! - [`Device`], given to [`DenseOptions::device`](crate::DenseOptions::device), is the way in;
//! - `owner` is the thread that owns the device, `blocks` what is kept on it;
//! - `backend` is all that a device must be able to do; `host` does it with faiss on the processor, `gpu` with faiss on
//!   a GPU.

mod backend;
mod blocks;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(feature = "faiss")]
mod host;
mod nothing;
mod options;
mod owner;
mod state;
#[cfg(feature = "faiss")]
#[cfg(test)]
mod tests;
mod usage;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;

use backend::Backend;
pub(crate) use blocks::Key;
pub use options::DeviceOptions;
pub(crate) use options::MOST;
pub(crate) use owner::{Answer, Source, rows_bytes};
use owner::{Ask, Message};
pub(crate) use state::Ready;
use state::State;
pub use usage::DeviceUsage;

use crate::DenseError;
use crate::lock::lock;

/// A device that compares rows with queries: a GPU, or the processor in its place.
///
/// Cheap to clone; clones are the same device. One serves any number of indexes.
///
/// A device never makes a search fail. Where it cannot be used the processor answers, and the
/// [report](crate::SegmentReport) of each segment says why: no GPU, no memory left, a filter that leaves too few rows.
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// use tantivy_dense::{Dense, DenseOptions, Device};
///
/// let gpu = Device::gpu(0);
/// if let Some(why) = gpu.unavailable() {
///     println!("searches run on the processor: {why}");
/// }
/// let dense = Dense::with_options(DenseOptions::default().device(gpu));
/// // Every search through `dense` now uses the device where it can.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Device {
    shared: Arc<Inner>,
}

struct Inner {
    options: DeviceOptions,
    state: Arc<State>,
    /// There until the device is dropped.
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// The GPU with this number, as CUDA counts them, by faiss. Needs the feature `gpu`.
    ///
    /// Returns at once; the GPU is opened meanwhile, which takes about a second.
    pub fn gpu(number: usize) -> Device {
        Device::gpu_with(number, DeviceOptions::default())
    }

    /// As [`Device::gpu`], with options of one's own.
    pub fn gpu_with(number: usize, options: DeviceOptions) -> Device {
        let name = format!("gpu:{number}");
        #[cfg(feature = "gpu")]
        {
            Device::with_backend(name, options, move || gpu::Gpu::open(number))
        }
        #[cfg(not(feature = "gpu"))]
        {
            let why = "tantivy-dense was built without the feature `gpu`";
            Device::with_backend(name, options, move || nothing::Nothing::open(why))
        }
    }

    /// The processor, by faiss. Needs the feature `faiss`.
    ///
    /// Queries that wait at the same time are answered by one product of matrices, which compares more rows in a second
    /// than one query after another does, at the price of a copy of all rows in memory; a single query
    /// gains nothing. The product runs on BLAS's threads (`OPENBLAS_NUM_THREADS`), all else on one. It is also how a
    /// program that will run on a GPU is tried out on a machine that has none.
    pub fn host() -> Device {
        Device::host_with(DeviceOptions::default())
    }

    /// As [`Device::host`], with options of one's own.
    pub fn host_with(options: DeviceOptions) -> Device {
        let name = "host".to_owned();
        #[cfg(feature = "faiss")]
        {
            Device::with_backend(name, options, || Ok(host::Host))
        }
        #[cfg(not(feature = "faiss"))]
        {
            let why = "tantivy-dense was built without the feature `faiss`";
            Device::with_backend(name, options, move || nothing::Nothing::open(why))
        }
    }

    /// The device of this name, as [`Device::name`] gives it: `gpu:NUMBER`, `gpu` for the first one, or `host`. That is
    /// also how a device is parsed, with default options.
    ///
    /// # Errors
    /// [`DenseError::NoDevice`] for another name. Whether there is such a GPU is said by [`Device::unavailable`].
    ///
    /// ```
    /// use tantivy_dense::{Device, DeviceOptions};
    /// assert_eq!(Device::named("gpu", DeviceOptions::default())?.name(), "gpu:0");
    /// assert_eq!("host".parse::<Device>()?.name(), "host");
    /// assert!("tpu".parse::<Device>().is_err());
    /// # Ok::<(), tantivy_dense::DenseError>(())
    /// ```
    pub fn named(name: &str, options: DeviceOptions) -> Result<Device, DenseError> {
        match (name, name.strip_prefix("gpu:").map(str::parse)) {
            ("host", _) => Ok(Device::host_with(options)),
            ("gpu", _) => Ok(Device::gpu_with(0, options)),
            (_, Some(Ok(number))) => Ok(Device::gpu_with(number, options)),
            _ => Err(DenseError::NoDevice { name: name.to_owned() }),
        }
    }

    fn with_backend<B: Backend>(
        name: String,
        options: DeviceOptions,
        open: impl FnOnce() -> Result<B, String> + Send + 'static,
    ) -> Device {
        let state = Arc::new(State::new(name));
        let (sender, messages) = channel();
        let thread = {
            let (state, options) = (Arc::clone(&state), options.clone());
            let name = format!("dense {}", state.name());
            std::thread::Builder::new().name(name).spawn(move || owner::run(open, &messages, &state, &options))
        };
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                state.lost(format!("no thread could be started for it: {error}"));
                None
            }
        };
        Device { shared: Arc::new(Inner { options, state, sender: Some(sender), thread }) }
    }

    /// Its name in reports: `gpu:0`, or `host`.
    pub fn name(&self) -> &str {
        self.shared.state.name()
    }

    /// How it is used.
    pub fn options(&self) -> &DeviceOptions {
        &self.shared.options
    }

    /// Why it cannot be used, if it cannot. Waits until it is opened.
    pub fn unavailable(&self) -> Option<String> {
        self.ready().err()
    }

    /// What it holds and has done so far.
    pub fn usage(&self) -> DeviceUsage {
        let state = &self.shared.state;
        DeviceUsage { waiting: state.waiting.load(Ordering::Relaxed), ..*lock(&state.usage) }
    }

    /// What the device can take, once it is open; or why it cannot be used.
    pub(crate) fn ready(&self) -> Result<Ready, String> {
        self.shared.state.ready()
    }

    /// Has a segment's block copied, if there is room, and waits for it.
    pub(crate) fn prepare(&self, key: Key, token: u64, source: Arc<dyn Source>) -> Result<(), String> {
        self.ask(key, token, source, Vec::new(), (1, 1)).map(drop)
    }

    /// The `k` nearest rows to each of `queries`, which lie one after another, and `nprobe` lists for lists.
    pub(crate) fn ask(
        &self,
        key: Key,
        token: u64,
        source: Arc<dyn Source>,
        queries: Vec<f32>,
        (k, nprobe): (usize, usize),
    ) -> Result<Answer, String> {
        let state = &self.shared.state;
        let _waiting = state.wait_for(queries.len() / source.dimension().max(1));
        let (reply, answer) = sync_channel(1);
        let ask = Ask { key, token, source, queries, k, nprobe, reply };
        // Both ends close when the thread ends for whatever reason, so nobody waits for ever.
        let ended = || "its thread has ended".to_owned();
        let sender = self.shared.sender.as_ref().ok_or_else(ended)?;
        sender.send(Message::Ask(ask)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    fn release(&self, key: Key, token: u64) {
        if let Some(sender) = &self.shared.sender {
            // A thread that has ended holds nothing any more.
            let _ = sender.send(Message::Release(key, token));
        }
    }
}

impl FromStr for Device {
    type Err = DenseError;

    fn from_str(name: &str) -> Result<Device, DenseError> {
        Device::named(name, DeviceOptions::default())
    }
}

impl PartialEq for Device {
    /// Whether they are the same device, opened once.
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Device").field("name", &self.name()).field("options", self.options()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.sender.take());
        // The thread itself drops the last handle when it is done with the last segment; it cannot wait for itself.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// One segment's place on a device: where it is let go, so are its blocks.
pub(crate) struct Slot {
    pub device: Device,
    key: Key,
    token: u64,
}

impl Slot {
    pub(crate) fn new(device: &Device, key: Key) -> Slot {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Slot { device: device.clone(), key, token: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// As [`Device::prepare`].
    pub(crate) fn prepare(&self, source: Arc<dyn Source>, lists: bool) -> Result<(), String> {
        self.device.prepare(Key { lists, ..self.key }, self.token, source)
    }

    /// As [`Device::ask`]; of the lists if `nprobe` is not 0.
    pub(crate) fn ask(
        &self,
        source: Arc<dyn Source>,
        queries: Vec<f32>,
        (k, nprobe): (usize, usize),
    ) -> Result<Answer, String> {
        self.device.ask(Key { lists: nprobe > 0, ..self.key }, self.token, source, queries, (k, nprobe))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        for lists in [false, true] {
            self.device.release(Key { lists, ..self.key }, self.token);
        }
    }
}
