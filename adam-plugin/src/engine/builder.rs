//! Opening an index, or making one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "onnx")]
use adam_encoder::EncoderOptions;
use adam_encoder::TextEncoder;
use tantivy::Index;
use tantivy::schema::Schema;
use tantivy_dense::{Dense, DenseOptions, Device};

use super::checksums::Checksums;
use super::language::Language;
use super::schema::{self, Fields};
use super::{Creation, Engine};
use crate::MANIFEST_FILE;
use crate::chunk::Chunking;
use crate::error::PluginError;
use crate::folder::{Contents, Home, IndexFolder};
use crate::manifest::{Layout, Manifest, PinnedModel};
use crate::rerank::Reranker;

/// How an [`Engine`] is opened, and what an index is like that has to be made first. The index is opened once, whatever is set.
///
/// ```no_run
/// # #[cfg(feature = "onnx")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use adam_encoder::{EncoderOptions, SentenceEncoder};
/// use adam_plugin::{Chunking, Engine};
///
/// // A new index, or one that is there already with the same model, language and chunks.
/// let encoder = Arc::new(SentenceEncoder::open("student", &EncoderOptions::default())?);
/// let engine = Engine::builder("birds-index")
///     .encoder(encoder)
///     .language("german".parse()?)
///     .chunks(Chunking::new(128))
///     .open_or_create()?;
///
/// // An index with the model that it was made with.
/// let engine = Engine::builder("birds-index").pinned_encoder(None, EncoderOptions::default()).open()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "onnx"))]
/// # fn main() {}
/// ```
#[must_use = "a builder opens nothing before `open` or `open_or_create`"]
pub struct EngineBuilder {
    path: PathBuf,
    encoder: Option<ModelSource>,
    pinned: Option<PinnedModel>,
    reranker: Option<Arc<Reranker>>,
    dense: DenseOptions,
    verify: bool,
    language: Option<Language>,
    chunks: Option<Chunking>,
    fields: Option<(Schema, Layout)>,
}

/// Where the model comes from.
enum ModelSource {
    Open(Arc<dyn TextEncoder>),
    #[cfg(feature = "onnx")]
    Pinned {
        folder: Option<PathBuf>,
        options: Box<EncoderOptions>,
    },
}

impl Engine {
    /// Begins to open or make the index in a folder.
    pub fn builder(path: impl AsRef<Path>) -> EngineBuilder {
        EngineBuilder {
            path: path.as_ref().to_path_buf(),
            encoder: None,
            pinned: None,
            reranker: None,
            dense: DenseOptions::default(),
            verify: true,
            language: None,
            chunks: None,
            fields: None,
        }
    }

    /// Opens an index without its model: lexical searches work, others fail with [`PluginError::NoModel`]. Short for
    /// `Engine::builder(path).open()`.
    ///
    /// # Errors
    /// When the folder holds no index of `adam`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PluginError> {
        Self::builder(path).open()
    }
}

impl EngineBuilder {
    /// The model. An index that is there must have been made with it.
    pub fn encoder(mut self, encoder: Arc<dyn TextEncoder>) -> Self {
        self.encoder = Some(ModelSource::Open(encoder));
        self
    }

    /// The model that the index was made with, opened from the folder that the manifest names, or from `folder`, which may be a
    /// Hugging Face id. Precision, length and prompts are those of the manifest; threads and providers are those of `options`.
    #[cfg(feature = "onnx")]
    pub fn pinned_encoder(mut self, folder: Option<&Path>, options: EncoderOptions) -> Self {
        self.encoder = Some(ModelSource::Pinned { folder: folder.map(Path::to_path_buf), options: Box::new(options) });
        self
    }

    /// What the manifest of a new index says of the model. Default: [`PinnedModel::of`] the encoder, which names no folder, so that
    /// the model has to be named again whenever the index is opened.
    pub fn pinned(mut self, model: PinnedModel) -> Self {
        self.pinned = Some(model);
        self
    }

    /// A re-ranker, for searches that ask for one.
    pub fn reranker(mut self, reranker: Arc<Reranker>) -> Self {
        self.reranker = Some(reranker);
        self
    }

    /// Compares vectors on a device, see [`Device`]. If unavailable, the search runs on the CPU, and its report says why.
    pub fn device(mut self, device: Device) -> Self {
        self.dense = self.dense.device(device);
        self
    }

    /// Whether the checksums of all files are compared when the index is opened: those of tantivy, and those of the vectors (see
    /// [`DenseOptions::verify_on_open`]). It reads the index once. Default: true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self.dense = self.dense.verify_on_open(verify);
        self
    }

    /// The language of the text, for stemming and stop words. Default: English for a new index. An index that is there must have the
    /// same.
    pub fn language(mut self, language: Language) -> Self {
        self.language = Some(language);
        self
    }

    /// Splits documents into chunks, each with a vector of its own: a document is as near to a query as its nearest chunk, and a hit
    /// says which one that is. Default: one vector a document. An index that is there must have the same.
    pub fn chunks(mut self, chunking: Chunking) -> Self {
        self.chunks = Some(chunking);
        self
    }

    /// A schema and layout for a new index, in place of those that `adam index` makes. The schema holds the fields that the layout
    /// names, the vector field among them, and [`HashFields`](crate::HashFields).
    pub fn schema(mut self, schema: Schema, layout: Layout) -> Self {
        self.fields = Some((schema, layout));
        self
    }

    /// Opens the index.
    ///
    /// # Errors
    /// When the folder holds no index of `adam`, its model is another or cannot be opened, or it was made with other options.
    pub fn open(self) -> Result<Engine, PluginError> {
        let dense = Dense::with_options(self.dense.clone());
        let (index, folder) = Home::open_index(&self.path, &dense)?;
        self.engine(dense, index, folder, None)
    }

    /// Opens the index, or makes one if the folder holds none. Needs an [encoder](Self::encoder).
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the folder holds something else or cannot be written, there is no encoder, or the schema
    /// lacks a field that the layout names.
    pub fn open_or_create(self) -> Result<Engine, PluginError> {
        let Some(ModelSource::Open(encoder)) = &self.encoder else {
            return Err(PluginError::Setting {
                name: "encoder",
                problem: "is missing; an index is made with a model that is open".to_owned(),
            });
        };
        if let Some(chunking) = self.chunks {
            chunking.check()?;
        }
        let (schema, layout) = match &self.fields {
            Some((schema, layout)) => (schema.clone(), layout.clone()),
            None => {
                let language = self.language.unwrap_or_default();
                (schema::schema(encoder.dimension(), language, self.chunks)?, schema::layout(self.chunks))
            }
        };
        Fields::of(&schema, &layout)?;
        let dense = Dense::with_options(self.dense.clone());
        if !Engine::exists(&self.path)? {
            Contents::of(&self.path)?.check_free(&self.path)?;
        } else {
            let (index, folder) = Home::open_index(&self.path, &dense)?;
            return self.engine(dense, index, folder, None);
        }
        let model = self.pinned.clone().unwrap_or_else(|| PinnedModel::of(encoder.as_ref()));
        let (index, folder, created) = create(&self.path, &dense, &Manifest::new(model, layout), schema)?;
        self.engine(dense, index, Home::One(folder), created)
    }

    fn engine(
        self,
        dense: Dense,
        index: Index,
        folder: Home,
        created: Option<Creation>,
    ) -> Result<Engine, PluginError> {
        let manifest = folder.manifest().ok_or_else(|| PluginError::NotAnIndex {
            // Of a folder whose manifest was taken away while it was opened.
            path: self.path.clone(),
            problem: format!("it holds no {MANIFEST_FILE}"),
        })?;
        let encoder = match self.encoder {
            Some(ModelSource::Open(encoder)) => Some(encoder),
            #[cfg(feature = "onnx")]
            Some(ModelSource::Pinned { folder, options }) => {
                Some(Arc::new(manifest.model.open(&self.path, folder.as_deref(), &options)?) as Arc<dyn TextEncoder>)
            }
            None => None,
        };
        if let Some(encoder) = &encoder {
            manifest.model.check(&self.path, encoder.as_ref())?;
        }
        Language::register_all(&index);
        let fields = Fields::of(&index.schema(), &manifest.layout)?;
        // Before tantivy reads it: damage is easier to name here than where a search meets it.
        let checksums = Checksums::new(self.verify);
        checksums.verify(&folder, &index)?;
        // Here the segments are opened, and the checksums of their vectors compared.
        let reader = dense.reader(&index)?;
        let engine = Engine {
            path: self.path,
            dense,
            index,
            reader,
            manifest,
            fields,
            encoder,
            reranker: self.reranker,
            folder,
            created,
            names: Default::default(),
            checksums,
            synonyms: Default::default(),
        };
        check_options(&engine, self.language, self.chunks)?;
        Ok(engine)
    }
}

/// Refuses options that an index was made without.
fn check_options(engine: &Engine, language: Option<Language>, chunks: Option<Chunking>) -> Result<(), PluginError> {
    let refuse = |name, wanted: String, there: String| {
        let index = engine.path.display();
        let problem = format!("is {wanted}, and the index {index} {there}; leave it out, or make a new index");
        Err(PluginError::Setting { name, problem })
    };
    if let Some(chunking) = chunks
        && engine.manifest.layout.chunks != Some(chunking)
    {
        let described = |Chunking { tokens, overlap }| format!("{tokens} tokens that overlap by {overlap}");
        let there = match engine.manifest.layout.chunks {
            Some(chunking) => format!("splits documents into chunks of {}", described(chunking)),
            None => "does not split documents".to_owned(),
        };
        return refuse("chunks", described(chunking), there);
    }
    if let Some(language) = language
        && engine.language() != Some(language)
    {
        let there = match engine.language() {
            Some(language) => format!("was made for {language}"),
            None => "has fields of its own, with their own analysers".to_owned(),
        };
        return refuse("language", language.to_string(), there);
    }
    Ok(())
}

/// Makes an index in a folder that holds none, unless another process was faster: then it is opened.
fn create(
    path: &Path,
    dense: &Dense,
    manifest: &Manifest,
    schema: Schema,
) -> Result<(Index, IndexFolder, Option<Creation>), PluginError> {
    let created = Creation { with_folder: !path.exists() };
    durable::create_folders(path).map_err(|source| PluginError::io("make", path, source))?;
    let folder = IndexFolder::open(path)?;
    let lock = folder.lock()?;
    let contents = Contents::of(path)?;
    contents.check_free(path)?;
    if contents == Contents::Index {
        drop(lock);
        let (index, folder) = IndexFolder::open_index(path, dense)?;
        return Ok((index, folder, None));
    }
    // First the manifest, then the index: the next call finishes what is interrupted in between.
    folder.write_manifest(manifest)?;
    let index = dense.index_builder().schema(schema).open_or_create(folder.clone())?;
    Ok((index, folder, Some(created)))
}
