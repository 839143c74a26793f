//! What a caller may choose about an encoder, and the trait every text encoder answers to.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::EncoderError;

/// What a text is: many models put a different prompt before queries and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// A search query.
    Query,
    /// A text to be found.
    Document,
}

/// Turns texts into vectors. [`SentenceEncoder`](crate::SentenceEncoder) is the ONNX one; anything else that
/// can make vectors may stand in its place.
pub trait TextEncoder: Send + Sync {
    /// Number of values in a vector.
    fn dimension(&self) -> usize;

    /// Identifies the function from text to vector: equal fingerprints give equal vectors, so an index that
    /// stores it can refuse vectors of another model.
    fn fingerprint(&self) -> &str;

    /// A short name for messages.
    fn name(&self) -> &str;

    /// One vector of [`dimension`](Self::dimension) values for each text, in the order given.
    ///
    /// # Errors
    /// When a text cannot be tokenised or the model fails; [`EncoderError::Text`] says which text, where one is to blame.
    /// Errors of other kinds go into [`EncoderError::other`].
    fn encode(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError>;

    /// As [`encode`](Self::encode), with everything an encoder may do wrong turned into an error: a panic, another number of
    /// vectors than texts, vectors of another dimension, values that are not finite. Callers that must go on use this.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and for what is listed above. Where one text is to blame and it is known which, this is
    /// [`EncoderError::Text`].
    fn encode_checked(&self, texts: &[&str], kind: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
        crate::guard::encode(self, texts, kind)
    }

    /// The byte range of each of the pieces that the model reads a text in and measures its length by, for cutting long
    /// documents into chunks. Unless an encoder says otherwise, words between white space.
    ///
    /// # Errors
    /// When the text cannot be tokenised.
    fn token_ranges(&self, text: &str) -> Result<Vec<Range<usize>>, EncoderError> {
        let start = text.as_ptr() as usize;
        Ok(text
            .split_whitespace()
            .map(|word| {
                let at = word.as_ptr() as usize - start;
                at..at + word.len()
            })
            .collect())
    }
}

/// Which of a folder's ONNX files to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32-bit floating point: the model as trained.
    #[default]
    F32,
    /// 16-bit floating point inside, inputs and outputs as ever: half the size, and on a GPU several times as fast. A CPU mostly
    /// computes it in 32 bits, no faster than [`Precision::F32`].
    F16,
    /// 8-bit weights and activations (dynamic quantisation): about twice as fast on a CPU, a quarter of the
    /// size. Activations are scaled per batch, so a vector depends a little on the texts that share its batch. CUDA and TensorRT
    /// have no kernels for it and are refused.
    Int8,
}

impl FromStr for Precision {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(EncoderError::Option {
                name: "precision",
                problem: format!("is `{text}`; it can be `f32`, `f16` or `int8`"),
            }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

/// Where ONNX Runtime runs the model. All but [`Provider::Cpu`] need a build of ONNX Runtime that contains them;
/// one that is asked for and absent is an error, never a silent fall-back to the CPU.
///
/// As text: `cpu`, `cuda`, `cuda:1`, `tensorrt:0`, `openvino`, `coreml`, `directml:0`, `migraphx:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// The CPU; always there.
    Cpu,
    /// NVIDIA CUDA on the device with this number.
    Cuda(i32),
    /// NVIDIA TensorRT on the device with this number.
    TensorRt(i32),
    /// AMD MIGraphX on the device with this number.
    MiGraphX(i32),
    /// DirectML (Windows) on the device with this number.
    DirectMl(i32),
    /// Intel OpenVINO.
    OpenVino,
    /// Apple Core ML.
    CoreMl,
}

impl FromStr for Provider {
    type Err = EncoderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || EncoderError::Option {
            name: "providers",
            problem: format!(
                "has `{text}`; it can be cpu, openvino, coreml, or cuda, tensorrt, migraphx, directml, each of these with `:DEVICE` or without"
            ),
        };
        let (name, device) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<u8>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let number = i32::from(device.unwrap_or(0));
        match (name, device) {
            ("cpu", None) => Ok(Self::Cpu),
            ("openvino", None) => Ok(Self::OpenVino),
            ("coreml", None) => Ok(Self::CoreMl),
            ("cuda", _) => Ok(Self::Cuda(number)),
            ("tensorrt", _) => Ok(Self::TensorRt(number)),
            ("migraphx", _) => Ok(Self::MiGraphX(number)),
            ("directml", _) => Ok(Self::DirectMl(number)),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::OpenVino => f.write_str("openvino"),
            Self::CoreMl => f.write_str("coreml"),
            Self::Cuda(device) => write!(f, "cuda:{device}"),
            Self::TensorRt(device) => write!(f, "tensorrt:{device}"),
            Self::MiGraphX(device) => write!(f, "migraphx:{device}"),
            Self::DirectMl(device) => write!(f, "directml:{device}"),
        }
    }
}

/// Sessions unless asked for otherwise: each takes time to open and memory to work in.
const MOST_SESSIONS: usize = 8;

/// How a model is opened and run. [`Default`] suits one encoder that has the machine to itself.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderOptions {
    /// Which ONNX file of the folder to run.
    pub precision: Precision,
    /// CPU threads over all sessions together; 0 means one for each core. Each session gets an equal share, at
    /// least one.
    pub threads: usize,
    /// The most tokens in one batch, padding included; a single text longer than this is a batch of its own. 0: as suits the
    /// device: 512 on a CPU, whose caches hold no more, else 16,384.
    pub batch_tokens: usize,
    /// The most tokens of a text that are read; the rest is cut off. `None`: as the folder says.
    pub max_length: Option<usize>,
    /// How many batches may run at once, each on an equal share of the threads; all share one copy of the weights. A batch that is
    /// alone gets all threads. 0: as many as threads, eight at most; one where the CPU does not run the model. With 1 a model opens
    /// fastest, which suits a program that asks one question.
    pub sessions: usize,
    /// Scale vectors to length 1, or leave them. `None`: as the folder says.
    pub normalize: Option<bool>,
    /// Where to run, in order of preference; empty means the CPU.
    pub providers: Vec<Provider>,
    /// Text put before every query, in place of what the folder says. Some models (E5, BGE) need one and do not
    /// say so in their files.
    pub query_prompt: Option<String>,
    /// Text put before every document, in place of what the folder says.
    pub document_prompt: Option<String>,
    /// Let ONNX Runtime's threads wait for the next batch in a busy loop. Off by default, since that loop takes the cores from
    /// everything else in the process, such as a search.
    pub spinning: bool,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            precision: Precision::F32,
            threads: 0,
            batch_tokens: 0,
            max_length: None,
            sessions: 0,
            normalize: None,
            providers: Vec::new(),
            query_prompt: None,
            document_prompt: None,
            spinning: false,
        }
    }
}

impl EncoderOptions {
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

    #[test]
    fn providers_read_back_what_they_print() {
        for text in ["cpu", "cuda:0", "cuda:3", "tensorrt:1", "openvino", "coreml", "directml:0", "migraphx:2"] {
            assert_eq!(text.parse::<Provider>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<Provider>().unwrap(), Provider::Cuda(0));
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:1:2", "cpu:0", ""] {
            assert!(text.parse::<Provider>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_tokenizer_words_count() {
        struct Nothing;
        impl TextEncoder for Nothing {
            fn dimension(&self) -> usize {
                1
            }
            fn fingerprint(&self) -> &str {
                ""
            }
            fn name(&self) -> &str {
                ""
            }
            fn encode(&self, _: &[&str], _: TextKind) -> Result<Vec<Vec<f32>>, EncoderError> {
                Ok(Vec::new())
            }
        }
        assert_eq!(Nothing.token_ranges(" ein  Wört\n").unwrap(), [1..4, 6..11]);
        assert!(Nothing.token_ranges("").unwrap().is_empty());
    }

    #[test]
    fn threads_are_shared_among_sessions() {
        let options = |threads, sessions| EncoderOptions { threads, sessions, ..EncoderOptions::default() };
        assert_eq!(options(8, 2).threads_per_session(), 4);
        assert_eq!(options(2, 5).threads_per_session(), 1);
        assert!(options(0, 1).threads_per_session() >= 1);
        assert_eq!((options(4, 0).all_sessions(), options(4, 0).threads_per_session()), (4, 1));
        assert_eq!((options(32, 0).all_sessions(), options(32, 0).threads_per_session()), (8, 4));
        let device = EncoderOptions { providers: vec![Provider::Cuda(0)], ..options(32, 0) };
        assert_eq!((device.all_sessions(), device.most_tokens()), (1, 16_384));
        assert!(options(0, 1025).check().is_err());
    }

    #[test]
    fn int8_is_refused_where_the_device_has_no_kernels_for_it() {
        let options = |precision, providers: &[Provider]| EncoderOptions {
            precision,
            providers: providers.to_vec(),
            ..EncoderOptions::default()
        };
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
