//! Running a model: ONNX Runtime sessions in a pool, since one session runs one batch at a time.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ort::ep::{self, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, TensorRef};

use crate::batch::Padded;
use crate::cuda;
use crate::error::EncoderError;
use crate::folder::{OnnxFile, SharedWeight, WeightValues};
use crate::guard::guarded;
use crate::options::EncoderOptions;
use crate::provider::Provider;
use crate::runtime;

/// What a model input is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feed {
    Ids,
    Mask,
    Types,
    Positions,
}

/// An output of the model: its name and number of axes, where the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) axes: usize,
    /// Size of the last axis, where the model fixes it.
    pub(crate) width: Option<usize>,
    is_f32: bool,
}

/// What share of the processor a batch gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it, unless several callers come at once: the batch is the only one of its call, and somebody waits for it.
    Whole,
    /// One session's: other batches of the same call run beside it.
    One,
}

/// The sessions of one model file.
///
/// Many batches go fastest on sessions of few threads each, which never wait for one another within a batch; one batch alone, on a
/// session of all threads. So there are both, over the same weights.
pub(crate) struct SessionPool {
    path: PathBuf,
    feeds: Vec<(String, Feed, TensorElementType)>,
    outputs: Vec<Output>,
    size: usize,
    state: Mutex<State>,
    freed: Condvar,
}

/// A batch gets all threads once so many in a row ran alone.
const ALONE: u32 = 8;
/// On fewer tokens, several threads are slower than one unless they are awake: waking them takes longer than the work.
const WORTH_WAKING: usize = 64;
/// How long they are awake after a batch.
const AWAKE: Duration = Duration::from_micros(200);

struct State {
    idle: Vec<Session>,
    /// The session of all threads, where the others have fewer; none while it is lent out.
    whole: Option<Session>,
    /// Sessions lent out.
    out: usize,
    /// Batches in a row that found nothing else running.
    alone: u32,
    /// When the last batch ended.
    ended: Option<Instant>,
    /// Callers that wait, first come first.
    queue: VecDeque<u64>,
    next: u64,
}

/// A session lent out; it goes back when dropped.
struct SessionGuard<'a> {
    pool: &'a SessionPool,
    session: Option<Session>,
    is_whole: bool,
}

/// One output of one run: its shape, and its values in row-major order.
pub(crate) struct Values<'a> {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: &'a [f32],
}

impl SessionPool {
    pub(crate) fn open(file: &OnnxFile, options: &EncoderOptions) -> Result<Self, EncoderError> {
        let environment = runtime::environment()?;
        let missing = cuda::preload(&options.providers);
        let refuse = |problem: &str| {
            EncoderError::model(
                &file.path,
                format!("ONNX Runtime cannot load it: {}", problem.trim_end().trim_end_matches('.')),
            )
        };
        let fault = |error: ort::Error| refuse(&cuda::said(&error.to_string()));
        let size = options.all_sessions();
        let builder = configure(environment, options).map_err(fault)?;
        // Only here is it the providers' fault; what is wrong with a model's file is not put right by other libraries.
        let builder = with_providers(builder, &options.providers).map_err(|error| {
            refuse(&cuda::refusal(&options.providers, &missing, error.to_string().trim_end_matches('.')))
        })?;
        // One copy of the weights for all sessions. A single session is better off with its own, which ONNX Runtime
        // frees once it has packed them.
        let builder = if size > 1 && options.on_cpu() { share_weights(builder, file).map_err(fault)? } else { builder };
        let open = |threads: usize| {
            let mut builder = builder.clone().with_intra_threads(threads).map_err(|error| fault(error.into()))?;
            let session = if file.has_external() {
                builder.commit_from_file(&file.path)
            } else {
                builder.commit_from_memory(&file.bytes)
            };
            session.map_err(fault)
        };
        let each = options.threads_per_session();
        let idle = (0..size).map(|_| open(each)).collect::<Result<Vec<_>, _>>()?;
        let has_whole = options.on_cpu() && each < options.all_threads();
        let whole = has_whole.then(|| open(options.all_threads())).transpose()?;
        let (feeds, outputs) = match idle.first() {
            Some(session) => (read_inputs(&file.path, session.inputs())?, read_outputs(session.outputs())),
            None => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            path: file.path.clone(),
            feeds,
            outputs,
            size,
            state: Mutex::new(State {
                idle,
                whole,
                out: 0,
                alone: ALONE,
                ended: None,
                queue: VecDeque::new(),
                next: 0,
            }),
            freed: Condvar::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The output called `name`, if the model has it.
    pub(crate) fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// All outputs with their number of axes, for messages.
    pub(crate) fn describe_outputs(&self) -> String {
        let list: Vec<String> =
            self.outputs.iter().map(|output| format!("{} ({} axes)", output.name, output.axes)).collect();
        list.join(", ")
    }

    /// Refuses an output whose values are no 32-bit floats.
    pub(crate) fn check_f32(&self, output: &Output) -> Result<(), EncoderError> {
        if output.is_f32 {
            Ok(())
        } else {
            Err(EncoderError::model(
                &self.path,
                format!("output `{}` does not hold 32-bit floats; export the model in f32 or int8", output.name),
            ))
        }
    }

    /// Runs one batch and hands the output called `output` to `read`; other outputs are not computed further than
    /// that one needs.
    pub(crate) fn run<T>(
        &self,
        batch: &Padded,
        share: Share,
        output: &str,
        read: impl FnOnce(&Values<'_>) -> Result<T, EncoderError>,
    ) -> Result<T, EncoderError> {
        let fault = |error: ort::Error| self.fault(&error);
        let options = RunOptions::new().map_err(fault)?.with_outputs(OutputSelector::no_default().with(output));
        let shape = [batch.rows, batch.width];
        let positions =
            if self.feeds.iter().any(|(_, feed, _)| *feed == Feed::Positions) { batch.positions() } else { Vec::new() };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(self.feeds.len());
        for (name, feed, element) in &self.feeds {
            let values = match feed {
                Feed::Ids => &batch.ids,
                Feed::Mask => &batch.mask,
                Feed::Types => &batch.types,
                Feed::Positions => &positions,
            };
            let value: SessionInputValue<'_> = if *element == TensorElementType::Int32 {
                let narrow: Vec<i32> = values.iter().map(|value| *value as i32).collect();
                Tensor::from_array((shape, narrow)).map_err(fault)?.into()
            } else {
                TensorRef::from_array_view((shape, values.as_slice())).map_err(fault)?.into()
            };
            inputs.push((name, value));
        }
        let mut lent = self.borrow(share, batch.rows * batch.width);
        let Some(session) = lent.session.as_mut() else {
            return Err(EncoderError::Inference { path: self.path.clone(), problem: "the session is gone".to_owned() });
        };
        let outputs = session.run_with_options(inputs, &options).map_err(fault)?;
        let value = outputs.get(output).ok_or_else(|| EncoderError::Inference {
            path: self.path.clone(),
            problem: format!("output `{output}` did not come"),
        })?;
        let (shape, values) = value.try_extract_tensor::<f32>().map_err(fault)?;
        read(&Values { shape: shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect(), values })
    }

    fn fault(&self, error: &ort::Error) -> EncoderError {
        EncoderError::Inference { path: self.path.clone(), problem: cuda::said(&error.to_string()) }
    }

    /// Runs `work` for each of `0..count`, on as many threads as there are sessions, and hands each result to `done`
    /// on the calling thread as it comes. The first error stops the rest, and so does a `done` that breaks.
    pub(crate) fn for_each<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize, Share) -> Result<T, EncoderError> + Sync,
        mut done: impl FnMut(usize, T) -> ControlFlow<()>,
    ) -> Result<(), EncoderError> {
        let mut finish = |index, value| match done(index, value) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EncoderError::Stopped),
        };
        let work = |index, share| {
            guarded(|| work(index, share), |problem| EncoderError::Panicked { path: self.path.clone(), problem })
        };
        let threads = self.size.min(count);
        let share = if count == 1 { Share::Whole } else { Share::One };
        if threads <= 1 {
            for index in 0..count {
                finish(index, work(index, share)?)?;
            }
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let mut outcome = Ok(());
        std::thread::scope(|scope| {
            // Bounded, so that results do not pile up behind a slow receiver.
            let (sender, receiver) = mpsc::sync_channel(threads * 2);
            for _ in 0..threads {
                let sender = sender.clone();
                let (next, stop, work) = (&next, &stop, &work);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count || sender.send((index, work(index, share))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (index, result) in receiver {
                if outcome.is_ok() {
                    outcome = result.and_then(|value| finish(index, value));
                }
                if outcome.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        outcome
    }

    /// Takes a session, waiting for one in the order of arrival: a query that comes while an index is being built gets
    /// its turn after the batches already running.
    fn borrow(&self, share: Share, tokens: usize) -> SessionGuard<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.queue.push_back(ticket);
        loop {
            if state.queue.front() == Some(&ticket) {
                // Where one batch meets another the next ones will too, and with a session of its own each they do not wait for each
                // other's threads.
                state.alone = if state.out == 0 { state.alone.saturating_add(1) } else { 0 };
                let is_awake = || state.ended.is_some_and(|ended| ended.elapsed() < AWAKE);
                let pays = tokens >= WORTH_WAKING || is_awake();
                let has_all = share == Share::Whole && state.alone >= ALONE && pays;
                let whole = if has_all { state.whole.take() } else { None };
                let is_whole = whole.is_some();
                if let Some(session) = whole.or_else(|| state.idle.pop()) {
                    state.queue.pop_front();
                    state.out += 1;
                    if !state.idle.is_empty() && !state.queue.is_empty() {
                        self.freed.notify_all();
                    }
                    return SessionGuard { pool: self, session: Some(session), is_whole };
                }
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for SessionGuard<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.out -= 1;
            state.ended = Some(Instant::now());
            if self.is_whole {
                state.whole = Some(session);
            } else {
                state.idle.push(session);
            }
            if !state.queue.is_empty() {
                self.pool.freed.notify_all();
            }
        }
    }
}

fn configure(environment: &ort::environment::Environment, options: &EncoderOptions) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_inter_threads(1)?
        // Patterns are kept for each shape seen, and every batch has another.
        .with_memory_pattern(false)?;
    if !options.spinning {
        // Threads of a batch wait for each other in a busy loop, since going to sleep takes longer than most operators do on a short
        // text; but only for a moment, where ONNX Runtime would keep them busy for tens of milliseconds after the batch.
        builder = builder.with_config_entry("session.intra_op.spin_duration_us", "100")?;
    }
    Ok(builder)
}

fn with_providers(builder: SessionBuilder, providers: &[Provider]) -> ort::Result<SessionBuilder> {
    if providers.is_empty() {
        return Ok(builder);
    }
    let providers: Vec<ExecutionProviderDispatch> = providers.iter().map(|provider| dispatch(*provider)).collect();
    Ok(builder.with_execution_providers(providers)?)
}

fn dispatch(provider: Provider) -> ExecutionProviderDispatch {
    let dispatch = match provider {
        Provider::Cpu => ep::CPU::default().build(),
        Provider::Cuda(device) => cuda_provider(device).build(),
        Provider::TensorRt(device) => ep::TensorRT::default().with_device_id(device).build(),
        Provider::MiGraphX(device) => ep::MIGraphX::default().with_device_id(device).build(),
        Provider::DirectMl(device) => ep::DirectML::default().with_device_id(device).build(),
        Provider::OpenVino => ep::OpenVINO::default().build(),
        Provider::CoreMl => ep::CoreML::default().build(),
    };
    dispatch.error_on_failure()
}

/// CUDA without TF32, which ONNX Runtime would use by default: it keeps ten bits of a number's fraction, and so puts vectors
/// further from the CPU's than the 1e-4 that one fingerprint stands for. Whoever wants speed asks for f16, which has its own.
fn cuda_provider(device: i32) -> ep::CUDA {
    ep::CUDA::default().with_device_id(device).with_tf32(false)
}

fn share_weights(mut builder: SessionBuilder, file: &OnnxFile) -> ort::Result<SessionBuilder> {
    for SharedWeight { name, dims, values } in file.shared_weights() {
        let value: DynValue = match values {
            WeightValues::F32(values) => Tensor::from_array((dims, values))?.into_dyn(),
            WeightValues::I8(values) => Tensor::from_array((dims, values))?.into_dyn(),
            WeightValues::U8(values) => Tensor::from_array((dims, values))?.into_dyn(),
        };
        builder = builder.with_initializer(name, Arc::new(value))?;
    }
    Ok(builder.with_prepacked_weights(&PrepackedWeights::new())?)
}

fn read_inputs(path: &Path, inputs: &[Outlet]) -> Result<Vec<(String, Feed, TensorElementType)>, EncoderError> {
    let mut feeds = Vec::with_capacity(inputs.len());
    for input in inputs {
        let feed = match input.name() {
            "input_ids" => Feed::Ids,
            "attention_mask" => Feed::Mask,
            "token_type_ids" => Feed::Types,
            "position_ids" => Feed::Positions,
            other => {
                return Err(EncoderError::model(
                    path,
                    format!(
                        "wants an input `{other}`; supported are input_ids, attention_mask, token_type_ids and position_ids"
                    ),
                ));
            }
        };
        let element = input.dtype().tensor_type();
        match element {
            Some(element @ (TensorElementType::Int64 | TensorElementType::Int32)) => {
                feeds.push((input.name().to_owned(), feed, element));
            }
            _ => {
                return Err(EncoderError::model(
                    path,
                    format!("wants input `{}` in a type other than int64 or int32", input.name()),
                ));
            }
        }
    }
    if !feeds.iter().any(|(_, feed, _)| *feed == Feed::Ids) {
        return Err(EncoderError::model(path, "has no input `input_ids`, so it is no text model"));
    }
    Ok(feeds)
}

fn read_outputs(outputs: &[Outlet]) -> Vec<Output> {
    outputs
        .iter()
        .map(|output| {
            let shape = output.dtype().tensor_shape();
            Output {
                name: output.name().to_owned(),
                axes: shape.map_or(0, |shape| shape.len()),
                width: shape
                    .and_then(|shape| shape.last().copied())
                    .and_then(|size| usize::try_from(size).ok())
                    .filter(|size| *size > 0),
                is_f32: output.dtype().tensor_type() == Some(TensorElementType::Float32),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_computes_in_whole_floats() {
        let options = format!("{:?}", cuda_provider(1));
        assert!(options.contains(r#""use_tf32": "false""#) && options.contains(r#""device_id": "1""#), "{options}");
    }
}
