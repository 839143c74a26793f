//! The vector field: its options, how it is declared in a schema, and how vectors get into documents.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tantivy::TantivyDocument;
use tantivy::schema::{Field, FieldType, Schema, SchemaBuilder, Value};

use crate::DenseError;
use crate::ann::{AnnBuild, AnnIndex, AnnPlan, AnnPolicy};
use crate::metric::{Element, Metric};
use crate::norm::{largest, normalised, squares};

/// Name of the field type in tantivy's schema.
pub const TYPE_NAME: &str = "tantivy_dense.vector";
/// Version of the options written into a schema.
const OPTIONS_VERSION: u32 = 1;
/// Longest vector of a field.
pub const MAX_DIMENSION: usize = 4096;
/// Longest factory string of an index.
const MAX_FACTORY: usize = 1024;
/// The factory string that stands for no index.
const NO_INDEX: &str = "none";
/// Longest vector by length (norm): beyond it, sums of squares leave the range of f32.
const MAX_NORM: f64 = 1e18;
/// Shorter vectors than this count as zero where a direction is needed.
const MIN_NORM: f64 = f32::MIN_POSITIVE as f64;

/// What a vector field is. Written into the schema, so an index cannot be opened with another.
///
/// ```
/// use tantivy_dense::{Element, VectorOptions};
/// let options = VectorOptions::cosine(384).element(Element::F16).int8_first_pass(true);
/// assert_eq!(options.row_bytes(), 768);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorOptions {
    version: u32,
    dimension: u32,
    metric: Metric,
    element: Element,
    int8_first_pass: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<String>,
}

impl VectorOptions {
    /// Vectors of `dimension` values, 1 to 4,096, compared by `metric`, kept as f32.
    pub fn new(metric: Metric, dimension: usize) -> VectorOptions {
        VectorOptions {
            version: OPTIONS_VERSION,
            dimension: u32::try_from(dimension).unwrap_or(u32::MAX),
            metric,
            element: Element::F32,
            int8_first_pass: false,
            index: None,
        }
    }

    /// Compared by the cosine of their angle: what nearly all text models are made for.
    pub fn cosine(dimension: usize) -> VectorOptions {
        VectorOptions::new(Metric::Cosine, dimension)
    }

    /// Compared by their inner product.
    pub fn dot(dimension: usize) -> VectorOptions {
        VectorOptions::new(Metric::Dot, dimension)
    }

    /// Compared by their Euclidean distance.
    pub fn l2(dimension: usize) -> VectorOptions {
        VectorOptions::new(Metric::L2, dimension)
    }

    /// How values are kept. f16 halves the disk and the memory a scan reads, int8 quarters them; both round the vectors.
    #[must_use]
    pub fn element(mut self, element: Element) -> VectorOptions {
        self.element = element;
        self
    }

    /// Keeps a rounded copy of every row, one byte a value and 8 bytes a row, which exact searches scan first; only rows
    /// that the rounding leaves in doubt are compared in full. The hits are the same as without, several times sooner.
    /// Rows of [`Element::Int8`] are such a copy already.
    #[must_use]
    pub fn int8_first_pass(mut self, on: bool) -> VectorOptions {
        self.int8_first_pass = on;
        self
    }

    /// The approximate index that merges build over this field's rows, as a faiss factory string such as `HNSW32`,
    /// `IVF1024,SQ8` or `OPQ32,IVF4096,PQ32x4fs,RFlat`; `none` for never any. It takes the place of what the policy
    /// ([`DenseOptions::ann`](crate::DenseOptions::ann)) would choose; from which size on an index is built stays with
    /// the policy. Has no effect without the feature `faiss`.
    #[must_use]
    pub fn index(mut self, factory: impl Into<String>) -> VectorOptions {
        self.index = Some(factory.into());
        self
    }

    /// The approximate index asked for, if one was.
    pub fn index_factory(&self) -> Option<&str> {
        self.index.as_deref()
    }

    /// Values per vector.
    pub fn dimension(&self) -> usize {
        self.dimension as usize
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// How values are kept.
    pub fn element_type(&self) -> Element {
        self.element
    }

    /// Whether a rounded copy is kept beside rows that are not int8 themselves.
    pub fn has_first_pass(&self) -> bool {
        self.int8_first_pass && self.element != Element::Int8
    }

    /// What to build over `rows` rows in a merge, if anything.
    pub(crate) fn plan(&self, policy: &AnnPolicy, rows: u32) -> Option<AnnPlan> {
        let factory = match self.index.as_deref() {
            Some(NO_INDEX) => return None,
            Some(factory) => Some(factory.to_owned()),
            None => policy.factory.clone(),
        };
        let policy = AnnPolicy { factory, ..policy.clone() };
        policy.plan(self.metric.into(), self.dimension(), rows as usize)
    }

    /// Whether every row has a scale. Rounding changes the length of a normalised row, up to some thousandths for int8;
    /// the scale gives it back its length of 1, so that similarities stay cosines.
    pub(crate) fn keeps_scales(&self) -> bool {
        self.element == Element::Int8 || (self.element == Element::F16 && self.metric == Metric::Cosine)
    }

    /// Bytes of one row, rounded copies and side values not counted.
    pub fn row_bytes(&self) -> usize {
        self.dimension() * self.element.bytes()
    }

    /// Asks the library, where it is there, whether it knows the index that is wanted.
    fn check_factory(&self, field: &str) -> Result<(), DenseError> {
        match self.index.as_deref() {
            Some(factory) if factory != NO_INDEX && AnnIndex::available() => {
                AnnIndex::check(&AnnBuild::new(factory, self.metric.into(), self.dimension()))
                    .map_err(|error| DenseError::Options { field: field.to_owned(), why: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn check(&self, field: &str) -> Result<(), DenseError> {
        let wrong = |why: String| Err(DenseError::Options { field: field.to_owned(), why });
        if !(1..=MAX_DIMENSION).contains(&self.dimension()) {
            return wrong(format!("its dimension is {}, and can be from 1 to {MAX_DIMENSION}", self.dimension));
        }
        match &self.index {
            Some(factory) if factory.len() > MAX_FACTORY => {
                wrong(format!("the factory string of its index is {} bytes long", factory.len()))
            }
            _ => Ok(()),
        }
    }
}

/// A vector field of a schema: adds vectors to documents and names the field in queries.
///
/// ```
/// # fn main() -> Result<(), tantivy_dense::DenseError> {
/// use tantivy::TantivyDocument;
/// use tantivy::schema::Schema;
/// use tantivy_dense::{VectorField, VectorOptions};
///
/// let mut schema = Schema::builder();
/// let body = VectorField::add_to(&mut schema, "body_vector", VectorOptions::cosine(3))?;
/// let mut document = TantivyDocument::new();
/// body.add(&mut document, &[0.1, 0.2, 0.3])?;
/// assert!(body.add(&mut document, &[0.1, 0.2, 0.3]).is_err()); // one vector per document
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorField {
    field: Field,
    name: Arc<str>,
    options: Arc<VectorOptions>,
}

impl VectorField {
    /// Declares a vector field.
    ///
    /// Make the index of the schema by [`Dense::create_in_dir`](crate::Dense::create_in_dir) or
    /// [`Dense::index_builder`](crate::Dense::index_builder): tantivy's own `Index::create_in_dir` makes one that drops vectors in silence,
    /// and cannot take them later.
    ///
    /// # Errors
    /// [`DenseError::Options`] for a dimension of 0 or beyond 4,096, and for an index that faiss does not know, where it is
    /// there to be asked.
    pub fn add_to(schema: &mut SchemaBuilder, name: &str, options: VectorOptions) -> Result<VectorField, DenseError> {
        options.check(name)?;
        options.check_factory(name)?;
        let params = serde_json::to_value(&options)
            .map_err(|error| DenseError::Options { field: name.to_owned(), why: error.to_string() })?;
        let field = schema.add_custom_field(name, TYPE_NAME, params);
        Ok(VectorField { field, name: name.into(), options: Arc::new(options) })
    }

    /// The vector field `name` of a schema, with the options it was declared with.
    ///
    /// # Errors
    /// [`DenseError::UnknownField`], [`DenseError::NotAVectorField`], or [`DenseError::NewerFormat`] for a field
    /// declared by a later version of this crate.
    pub fn from_schema(schema: &Schema, name: &str) -> Result<VectorField, DenseError> {
        let field = schema.get_field(name).map_err(|_| DenseError::UnknownField { name: name.to_owned() })?;
        VectorField::from_field(schema, field)?.ok_or_else(|| {
            let found = match schema.get_field_entry(field).field_type() {
                FieldType::Custom(custom) => format!("`{}`", custom.type_name()),
                other => format!("{:?}", other.value_type()),
            };
            DenseError::NotAVectorField { name: name.to_owned(), found }
        })
    }

    /// All vector fields of a schema, in its order.
    ///
    /// # Errors
    /// As [`VectorField::from_schema`].
    pub fn all(schema: &Schema) -> Result<Vec<VectorField>, DenseError> {
        schema.fields().filter_map(|(field, _)| VectorField::from_field(schema, field).transpose()).collect()
    }

    fn from_field(schema: &Schema, field: Field) -> Result<Option<VectorField>, DenseError> {
        let entry = schema.get_field_entry(field);
        let FieldType::Custom(custom) = entry.field_type() else { return Ok(None) };
        if custom.type_name() != TYPE_NAME {
            return Ok(None);
        }
        let name = entry.name();
        // The version first: a later one may have options that this one cannot parse.
        let version = custom.params().get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version > u64::from(OPTIONS_VERSION) {
            return Err(DenseError::NewerFormat {
                file: name.to_owned(),
                found: u32::try_from(version).unwrap_or(u32::MAX),
                supported: OPTIONS_VERSION,
            });
        }
        let options: VectorOptions = serde_json::from_value(custom.params().clone())
            .map_err(|error| DenseError::Options { field: name.to_owned(), why: error.to_string() })?;
        options.check(name)?;
        Ok(Some(VectorField { field, name: name.into(), options: Arc::new(options) }))
    }

    /// Adds a vector to a document. The document holds a copy.
    ///
    /// Everything that could be wrong with a vector is found here, in the caller's thread: tantivy gives up the whole
    /// index writer when a document fails in an indexing thread.
    ///
    /// # Errors
    /// [`DenseError::Dimension`], [`DenseError::NotFinite`], [`DenseError::TooLarge`], [`DenseError::SecondVector`],
    /// and [`DenseError::ZeroVector`] under cosine. The document is unchanged then.
    pub fn add(&self, document: &mut TantivyDocument, vector: &[f32]) -> Result<(), DenseError> {
        self.check(vector)?;
        if document.get_first(self.field).is_some() {
            return Err(DenseError::SecondVector { field: self.name.to_string() });
        }
        document.add_custom(self.field, &to_bytes(vector));
        Ok(())
    }

    /// The vector that a document not yet indexed holds for this field.
    ///
    /// # Errors
    /// [`DenseError::NotAVector`] where the value was put there by other means than [`VectorField::add`].
    pub fn get(&self, document: &TantivyDocument) -> Result<Option<Vec<f32>>, DenseError> {
        let Some(value) = document.get_first(self.field) else { return Ok(None) };
        let bytes = value.as_custom().ok_or_else(|| self.not_a_vector("it is of another type".to_owned()))?;
        self.decode(bytes).map(Some)
    }

    /// Checks a vector as [`VectorField::add`] does, and returns its length (norm).
    ///
    /// # Errors
    /// As [`VectorField::add`].
    pub fn check(&self, vector: &[f32]) -> Result<f32, DenseError> {
        self.check_as(vector, self.options.element)
    }

    /// Checks a vector that is kept in this element type. Queries are kept in none, and compared as they are.
    fn check_as(&self, vector: &[f32], element: Element) -> Result<f32, DenseError> {
        let field = || self.name.to_string();
        let expected = self.options.dimension();
        if vector.len() != expected {
            return Err(DenseError::Dimension { field: field(), expected, got: vector.len() });
        }
        let norm = squares(vector).sqrt();
        if !norm.is_finite() {
            let first = vector.iter().copied().enumerate().find(|(_, value)| !value.is_finite());
            let (at, value) = first.unwrap_or((0, f32::NAN));
            return Err(DenseError::NotFinite { field: field(), at, value });
        }
        let too_large = |what, value, limit| DenseError::TooLarge { field: field(), what, value, limit };
        match self.options.metric {
            Metric::Cosine if norm < MIN_NORM => return Err(DenseError::ZeroVector { field: field() }),
            Metric::Cosine if norm > f64::from(f32::MAX) => {
                return Err(too_large("its length", norm, f64::from(f32::MAX)));
            }
            Metric::Cosine => {}
            Metric::Dot | Metric::L2 if norm > MAX_NORM => return Err(too_large("its length", norm, MAX_NORM)),
            Metric::Dot | Metric::L2 => {
                let limit = half::f16::MAX.to_f32();
                if element == Element::F16 && largest(vector) > limit {
                    return Err(too_large("a value", f64::from(largest(vector)), f64::from(limit)));
                }
            }
        }
        Ok(norm as f32)
    }

    /// A query vector as searches compare it: checked, and normalised under cosine.
    pub(crate) fn prepare(&self, vector: &[f32]) -> Result<Vec<f32>, DenseError> {
        self.check_as(vector, Element::F32)?;
        Ok(match self.options.metric {
            Metric::Cosine => normalised(vector),
            Metric::Dot | Metric::L2 => vector.to_vec(),
        })
    }

    /// A document's value as floats.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, DenseError> {
        if bytes.len() != self.options.dimension() * 4 {
            return Err(self.not_a_vector(format!(
                "{} bytes are not {} 32-bit floats",
                bytes.len(),
                self.options.dimension()
            )));
        }
        let value = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        Ok(bytes.chunks_exact(4).map(value).collect())
    }

    pub(crate) fn not_a_vector(&self, why: String) -> DenseError {
        DenseError::NotAVector { field: self.name.to_string(), why }
    }

    /// tantivy's number of the field.
    pub fn field(&self) -> Field {
        self.field
    }

    /// Name of the field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the field is.
    pub fn options(&self) -> &VectorOptions {
        &self.options
    }
}

/// A document's value: the numbers one after another, little-endian.
fn to_bytes(vector: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(vector))
    } else {
        Cow::Owned(vector.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}
