//! How a model is opened and run.

use crate::error::EncoderError;
use crate::precision::Precision;
use crate::provider::Provider;

/// Most sessions by default: each takes time to open, and memory.
const MOST_SESSIONS: usize = 8;

/// How a model is opened and run. [`Default`] suits one encoder that has the machine to itself.
///
/// ```
/// use adam_encoder::{EncoderOptions, Precision};
///
/// let options = EncoderOptions::default().precision(Precision::Int8).threads(4).max_length(256);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncoderOptions {
    pub(crate) precision: Precision,
    pub(crate) threads: usize,
    pub(crate) batch_tokens: usize,
    pub(crate) max_length: Option<usize>,
    pub(crate) sessions: usize,
    pub(crate) normalize: Option<bool>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) query_prompt: Option<String>,
    pub(crate) document_prompt: Option<String>,
    pub(crate) spinning: bool,
}

impl EncoderOptions {
    /// Which ONNX file of the folder to run; [`Precision::F32`] unless set.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// CPU threads over all sessions together; 0, the default, means one for each core. Each session gets an equal share, at
    /// least one.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The most tokens in one batch, padding included; a single text longer than this is a batch by itself. 0, the default, suits
    /// the device: 512 on a CPU, whose caches hold no more, else 16,384.
    #[must_use]
    pub fn batch_tokens(mut self, batch_tokens: usize) -> Self {
        self.batch_tokens = batch_tokens;
        self
    }

    /// The most tokens of a text that are read; the rest is cut off. `None`, the default: as the folder says.
    #[must_use]
    pub fn max_length(mut self, max_length: impl Into<Option<usize>>) -> Self {
        self.max_length = max_length.into();
        self
    }

    /// How many batches may run at once, each on an equal share of the threads; all share one copy of the weights. A batch that
    /// is alone gets all threads. 0, the default: one for each thread, at most eight; one if a device other than the CPU runs the model. With 1 a model opens
    /// fastest, which suits a program that answers one query.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Whether vectors are scaled to length 1. `None`, the default: as the folder says.
    #[must_use]
    pub fn normalize(mut self, normalize: impl Into<Option<bool>>) -> Self {
        self.normalize = normalize.into();
        self
    }

    /// Where to run, in order of preference; empty, the default, means the CPU.
    #[must_use]
    pub fn providers(mut self, providers: impl Into<Vec<Provider>>) -> Self {
        self.providers = providers.into();
        self
    }

    /// Text put before every query, in place of what the folder says. Some models (E5, BGE) need one and do not
    /// say so in their files. `None`, the default: as the folder says.
    #[must_use]
    pub fn query_prompt(mut self, query_prompt: impl Into<Option<String>>) -> Self {
        self.query_prompt = query_prompt.into();
        self
    }

    /// Text put before every document, in place of what the folder says. `None`, the default: as the folder says.
    #[must_use]
    pub fn document_prompt(mut self, document_prompt: impl Into<Option<String>>) -> Self {
        self.document_prompt = document_prompt.into();
        self
    }

    /// Whether ONNX Runtime's threads wait for the next batch in a busy loop. Off by default: the loop takes the cores from
    /// everything else in the process, such as a search.
    #[must_use]
    pub fn spinning(mut self, spinning: bool) -> Self {
        self.spinning = spinning;
        self
    }

    /// Refuses values that could not work.
    pub(crate) fn check(&self) -> Result<(), EncoderError> {
        let refuse = |name, problem: &str| Err(EncoderError::Option { name, problem: problem.to_owned() });
        if self.batch_tokens > 1 << 24 {
            return refuse("batch_tokens", "is over 16,777,216; no batch that large fits a machine");
        }
        if self.sessions > 1024 {
            return refuse("sessions", "is over 1024");
        }
        if self.threads > 4096 {
            return refuse("threads", "is over 4096");
        }
        if self.max_length.is_some_and(|n| !(3..=1 << 20).contains(&n)) {
            return refuse("max_length", "must be between 3 and 1,048,576 tokens");
        }
        let nvidia = |provider: &&Provider| matches!(provider, Provider::Cuda(_) | Provider::TensorRt(_));
        if self.precision == Precision::Int8
            && let Some(provider) = self.providers.iter().find(nvidia)
        {
            // ONNX Runtime would not refuse: it copies to the CPU and back for each operator that the device lacks.
            return Err(EncoderError::Option {
                name: "precision",
                problem: format!(
                    "is int8, and {provider} has no kernels for it, so the CPU would do nearly all of the work; use f16, or f32 \
                     where the folder has no f16 file, or run int8 on the CPU"
                ),
            });
        }
        for (name, prompt) in [("query_prompt", &self.query_prompt), ("document_prompt", &self.document_prompt)] {
            if prompt.as_ref().is_some_and(|prompt| prompt.len() > 16 << 10) {
                return refuse(name, "is longer than 16 KiB");
            }
        }
        Ok(())
    }

    /// CPU threads over all sessions together.
    pub(crate) fn all_threads(&self) -> usize {
        if self.threads == 0 { std::thread::available_parallelism().map_or(1, |n| n.get()) } else { self.threads }
    }

    /// How many batches may run at once.
    pub(crate) fn all_sessions(&self) -> usize {
        match self.sessions {
            0 if self.on_cpu() => self.all_threads().min(MOST_SESSIONS),
            0 => 1,
            sessions => sessions,
        }
    }

    /// CPU threads for each session.
    pub(crate) fn threads_per_session(&self) -> usize {
        (self.all_threads() / self.all_sessions()).max(1)
    }

    /// The most tokens in one batch.
    pub(crate) fn most_tokens(&self) -> usize {
        match self.batch_tokens {
            0 if self.on_cpu() => 512,
            0 => 16_384,
            tokens => tokens,
        }
    }

    /// Whether nothing but the CPU runs the model.
    pub(crate) fn on_cpu(&self) -> bool {
        self.providers.iter().all(|provider| *provider == Provider::Cpu)
    }

    /// Whether CUDA runs the model, whose kernels for ONNX Runtime's own fused operators are worth a file of their own. On a CPU
    /// the file in standard operators is as fast or faster (`encoder/tests/parity/speed.py --fused`), and others lack them.
    pub(crate) fn prefers_fused(&self) -> bool {
        !self.on_cpu() && self.providers.iter().all(|provider| matches!(provider, Provider::Cpu | Provider::Cuda(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(threads: usize, sessions: usize) -> EncoderOptions {
        EncoderOptions::default().threads(threads).sessions(sessions)
    }

    #[test]
    fn threads_are_shared_among_sessions() {
        assert_eq!(options(8, 2).threads_per_session(), 4);
        assert_eq!(options(2, 5).threads_per_session(), 1);
        assert!(options(0, 1).threads_per_session() >= 1);
        assert_eq!((options(4, 0).all_sessions(), options(4, 0).threads_per_session()), (4, 1));
        assert_eq!((options(32, 0).all_sessions(), options(32, 0).threads_per_session()), (8, 4));
        let device = options(32, 0).providers([Provider::Cuda(0)]);
        assert_eq!((device.all_sessions(), device.most_tokens()), (1, 16_384));
        assert!(options(0, 1025).check().is_err());
    }

    #[test]
    fn int8_is_refused_where_the_device_has_no_kernels_for_it() {
        let options =
            |precision, providers: &[Provider]| EncoderOptions::default().precision(precision).providers(providers);
        for providers in [&[Provider::Cuda(1)][..], &[Provider::Cpu, Provider::TensorRt(0)]] {
            let said = options(Precision::Int8, providers).check().unwrap_err().to_string();
            let name = providers[providers.len() - 1].to_string();
            assert!(said.contains(&name) && said.contains("f16"), "{said}");
            options(Precision::F16, providers).check().unwrap();
            options(Precision::F32, providers).check().unwrap();
        }
        options(Precision::Int8, &[Provider::Cpu]).check().unwrap();
        options(Precision::Int8, &[Provider::OpenVino]).check().unwrap();
    }
}
