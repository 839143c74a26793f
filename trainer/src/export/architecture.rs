//! What `config.json` says about a BERT-family encoder, in terms that all families share.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ExportError;
use super::weights::Weights;

/// The families whose graphs can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// BERT and what shares its layout (MiniLM, BGE, E5, GTE v1).
    Bert,
    /// RoBERTa, XLM-RoBERTa, CamemBERT.
    Roberta,
    /// DistilBERT.
    DistilBert,
    /// MPNet.
    MpNet,
}

/// Activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x * Phi(x), by the error function.
    Gelu,
    /// The same, approximated with tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// Sizes and kinds.
#[derive(Debug, Clone)]
pub(crate) struct Architecture {
    pub(crate) family: Family,
    /// `model_type` as it stands in config.json.
    pub(crate) model_type: String,
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
    /// Rows of the position table.
    pub(crate) positions: usize,
    /// Rows of the token type table; 0 where there is none.
    pub(crate) types: usize,
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
    /// Padding token.
    pub(crate) pad_id: i64,
    /// Buckets of MPNet's relative attention bias; 0 elsewhere.
    pub(crate) buckets: usize,
}

/// Tensor names of one layer, without `.weight` and `.bias`.
pub(crate) struct LayerNames {
    pub(crate) query: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) attention_output: String,
    pub(crate) attention_norm: String,
    pub(crate) up: String,
    pub(crate) down: String,
    pub(crate) output_norm: String,
}

/// `config.json` as read.
pub(crate) struct Config {
    path: PathBuf,
    pub(crate) keys: Map<String, Value>,
}

impl Config {
    /// Reads a JSON object.
    pub(crate) fn read(path: &Path) -> Result<Self, ExportError> {
        let text = std::fs::read(path).map_err(ExportError::io(path))?;
        if super::source::is_lfs_pointer(&text) {
            return Err(ExportError::model(path, format!("is {}", super::tokenizer::LFS)));
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Object(keys)) => Ok(Self { path: path.to_path_buf(), keys }),
            Ok(_) => Err(ExportError::model(path, "is JSON, but not an object")),
            Err(error) => Err(ExportError::model(path, format!("is not JSON: {error}"))),
        }
    }

    /// Reads a JSON object, or gives `None` where there is no such file.
    pub(crate) fn read_if_there(path: &Path) -> Result<Option<Self>, ExportError> {
        if path.is_file() { Self::read(path).map(Some) } else { Ok(None) }
    }

    pub(crate) fn fault(&self, key: &str, problem: impl Into<String>) -> ExportError {
        ExportError::key(&self.path, key, problem)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.value(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A whole number from 0 to 2^24; `None` where the key is absent.
    pub(crate) fn number(&self, key: &str) -> Result<Option<usize>, ExportError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number <= 1 << 24 => Ok(Some(number as usize)),
                _ => Err(self.fault(key, format!("must be a whole number up to 2^24, and is {value}"))),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize, ExportError> {
        match self.number(key)? {
            Some(number) if number > 0 => Ok(number),
            _ => Err(self.fault(key, "must be a whole number above 0")),
        }
    }
}

impl Architecture {
    /// Reads what a folder's `config.json` says, refusing what the graphs written here would get wrong.
    pub(crate) fn read(folder: &Path) -> Result<Self, ExportError> {
        Self::from_config(&Config::read(&folder.join("config.json"))?)
    }

    pub(crate) fn from_config(config: &Config) -> Result<Self, ExportError> {
        let model_type =
            config.text("model_type").ok_or_else(|| config.fault("model_type", "must be a string"))?.to_owned();
        let family = match model_type.as_str() {
            "bert" => Family::Bert,
            "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
            "distilbert" => Family::DistilBert,
            "mpnet" => Family::MpNet,
            other => {
                return Err(config.fault(
                    "model_type",
                    format!("is \"{other}\"; ONNX is written for bert, roberta, xlm-roberta, camembert, distilbert and mpnet"),
                ));
            }
        };
        if let Some(kind) = config.text("position_embedding_type")
            && kind != "absolute"
        {
            return Err(config
                .fault("position_embedding_type", format!("is \"{kind}\"; only absolute positions are supported")));
        }
        for key in ["is_decoder", "add_cross_attention", "sinusoidal_pos_embds_only"] {
            if config.flag(key) {
                return Err(config.fault(key, "is true; only encoders are supported"));
            }
        }
        let names = Keys::of(family);
        let activation_key = names.activation;
        let activation = match config.text(activation_key).unwrap_or("gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => {
                return Err(config.fault(
                    activation_key,
                    format!("is \"{other}\"; supported are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast and relu"),
                ));
            }
        };
        let hidden = config.size(names.hidden)?;
        let heads = config.size(names.heads)?;
        if hidden % heads != 0 {
            return Err(
                config.fault(names.heads, format!("is {heads}, which does not divide the hidden size {hidden}"))
            );
        }
        let default_pad = if matches!(family, Family::Roberta | Family::MpNet) { 1 } else { 0 };
        let epsilon = match family {
            Family::DistilBert => 1e-12,
            _ => config
                .value("layer_norm_eps")
                .map_or(Some(1e-12), Value::as_f64)
                .filter(|value| (0.0..0.1).contains(value))
                .ok_or_else(|| config.fault("layer_norm_eps", "must be a small positive number"))?
                as f32,
        };
        let layers = config.size(names.layers)?;
        if layers > 1000 {
            return Err(config.fault(names.layers, format!("is {layers}; no encoder has that many layers")));
        }
        Ok(Self {
            family,
            model_type,
            vocabulary: config.size("vocab_size")?,
            hidden,
            layers,
            heads,
            intermediate: config.size(names.intermediate)?,
            positions: config.size("max_position_embeddings")?,
            types: match family {
                Family::Bert => config.number("type_vocab_size")?.unwrap_or(2),
                Family::Roberta => config.number("type_vocab_size")?.unwrap_or(1),
                Family::DistilBert | Family::MpNet => 0,
            },
            epsilon,
            activation,
            pad_id: config.number("pad_token_id")?.unwrap_or(default_pad) as i64,
            buckets: match family {
                Family::MpNet => config.number("relative_attention_num_buckets")?.unwrap_or(32),
                _ => 0,
            },
        })
    }

    /// Whether the graph takes `token_type_ids`.
    pub(crate) fn takes_types(&self) -> bool {
        self.family == Family::Bert && self.types > 0
    }

    /// Positions that come before the first token's: RoBERTa and MPNet count from the padding token's number on.
    pub(crate) fn position_offset(&self) -> usize {
        match self.family {
            Family::Roberta | Family::MpNet => self.pad_id as usize + 1,
            Family::Bert | Family::DistilBert => 0,
        }
    }

    /// The longest sequence the position table holds.
    pub(crate) fn longest(&self) -> usize {
        self.positions.saturating_sub(self.position_offset())
    }

    /// Names of a layer's tensors.
    pub(crate) fn layer(&self, layer: usize) -> LayerNames {
        let name = |prefix: &str, rest: &str| format!("{prefix}.{layer}.{rest}");
        match self.family {
            Family::Bert | Family::Roberta => {
                let at = |rest: &str| name("encoder.layer", rest);
                LayerNames {
                    query: at("attention.self.query"),
                    key: at("attention.self.key"),
                    value: at("attention.self.value"),
                    attention_output: at("attention.output.dense"),
                    attention_norm: at("attention.output.LayerNorm"),
                    up: at("intermediate.dense"),
                    down: at("output.dense"),
                    output_norm: at("output.LayerNorm"),
                }
            }
            Family::MpNet => {
                let at = |rest: &str| name("encoder.layer", rest);
                LayerNames {
                    query: at("attention.attn.q"),
                    key: at("attention.attn.k"),
                    value: at("attention.attn.v"),
                    attention_output: at("attention.attn.o"),
                    attention_norm: at("attention.LayerNorm"),
                    up: at("intermediate.dense"),
                    down: at("output.dense"),
                    output_norm: at("output.LayerNorm"),
                }
            }
            Family::DistilBert => {
                let at = |rest: &str| name("transformer.layer", rest);
                LayerNames {
                    query: at("attention.q_lin"),
                    key: at("attention.k_lin"),
                    value: at("attention.v_lin"),
                    attention_output: at("attention.out_lin"),
                    attention_norm: at("sa_layer_norm"),
                    up: at("ffn.lin1"),
                    down: at("ffn.lin2"),
                    output_norm: at("output_layer_norm"),
                }
            }
        }
    }

    /// MPNet's relative attention bias for every distance j - i from `-(n-1)` to `n-1`, as `[heads, 2n-1]`,
    /// where n is [`longest`](Self::longest).
    pub(crate) fn relative_bias(&self, weights: &Weights) -> Result<Vec<f32>, ExportError> {
        let table = weights.get("encoder.relative_attention_bias.weight", &[self.buckets, self.heads])?;
        let longest = self.longest() as i64;
        let distances = -(longest - 1)..longest;
        Ok((0..self.heads)
            .flat_map(|head| distances.clone().map(move |distance| (head, distance)))
            .map(|(head, distance)| table.values[bucket(distance, self.buckets) * self.heads + head])
            .collect())
    }
}

/// Which row of the relative bias table a distance (key position minus query position) belongs to: one row for each of
/// the small distances, logarithmically wider rows up to 128, all that is farther in the last; keys after the query
/// have the upper half of the table.
pub(crate) fn bucket(distance: i64, buckets: usize) -> usize {
    let half = buckets / 2;
    let exact = (half / 2).max(1);
    let after = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs() as usize;
    let within = if far < exact {
        far
    } else {
        let share = (far as f32 / exact as f32).ln() / (128.0 / exact as f64).ln() as f32;
        (exact + (share * (half - exact) as f32) as usize).min(half - 1)
    };
    after + within
}

/// What the sizes are called in config.json.
struct Keys {
    hidden: &'static str,
    heads: &'static str,
    layers: &'static str,
    intermediate: &'static str,
    activation: &'static str,
}

impl Keys {
    fn of(family: Family) -> Self {
        match family {
            Family::DistilBert => Self {
                hidden: "dim",
                heads: "n_heads",
                layers: "n_layers",
                intermediate: "hidden_dim",
                activation: "activation",
            },
            Family::Bert | Family::Roberta | Family::MpNet => Self {
                hidden: "hidden_size",
                heads: "num_attention_heads",
                layers: "num_hidden_layers",
                intermediate: "intermediate_size",
                activation: "hidden_act",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_distances_fall_into_the_buckets_of_the_original() {
        // 32 buckets: distances 0 to 7 one by one, then logarithmic up to 128; later keys 16 rows up.
        let found: Vec<usize> = [0, -1, -7, -8, -15, -16, -31, -32, -64, -127, -128, -500]
            .iter()
            .map(|distance| bucket(*distance, 32))
            .collect();
        assert_eq!(found, [0, 1, 7, 8, 9, 10, 11, 12, 14, 15, 15, 15]);
        assert_eq!(bucket(1, 32), 17);
        assert_eq!(bucket(200, 32), 31);
    }
}
