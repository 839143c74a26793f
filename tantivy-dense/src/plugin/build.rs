//! Builds approximate indexes over the rows that a merge has just written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tantivy::Segment;
use tantivy::directory::{TerminatingWrite, WritePtr};

use crate::ann::{AnnBuild, AnnFileWriter, AnnIndex, AnnPlan};
use crate::components::{ann_component, rows_component};
use crate::inner::Inner;
use crate::lock::lock;
use crate::rows::{FieldRows, RowsFile};
use crate::{DenseError, Element, VectorField};

/// A waiting build looks at its cancel flag once in so long.
const LOOK: Duration = Duration::from_millis(50);

/// Whether an index is being built anywhere in this process. A build holds a copy of all rows, so there is one at a time.
static BUSY: Mutex<bool> = Mutex::new(false);
static FREE: Condvar = Condvar::new();

/// The right to build, until it is dropped.
pub(crate) struct Turn(());

impl Turn {
    /// Waits for one's turn.
    pub(crate) fn wait(cancelled: &AtomicBool) -> Result<Turn, DenseError> {
        let mut busy = lock(&BUSY);
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(DenseError::Cancelled);
            }
            if !*busy {
                *busy = true;
                return Ok(Turn(()));
            }
            busy = FREE.wait_timeout(busy, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether somebody has the turn.
#[cfg(all(test, feature = "faiss"))]
pub(super) fn is_busy() -> bool {
    *lock(&BUSY)
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&BUSY) = false;
        FREE.notify_all();
    }
}

/// Builds what the policy and the fields ask for, and writes the file if there is anything to write.
///
/// An index that cannot be built is no reason to lose a merge: its rows are scanned.
pub(super) fn build(dense: &Inner, segment: &Segment, fields: &[VectorField], max_doc: u32) -> Result<(), DenseError> {
    if !AnnIndex::available() {
        return Ok(());
    }
    let policy = &dense.options.ann;
    // A field may have far fewer rows than there are documents, and an index over them may fit where one over all would not.
    let unlimited = policy.unlimited();
    if fields.iter().all(|field| field.options().plan(&unlimited, max_doc).is_none()) {
        return Ok(());
    }
    let name = segment.id().uuid_string();
    let file = RowsFile::open(&segment.open_read(rows_component())?, &name, segment.id(), fields, max_doc)?;
    let mut out: Option<AnnFileWriter<WritePtr>> = None;
    for rows in file.fields() {
        let Some(plan) = rows.options().plan(policy, rows.len()) else { continue };
        let turn = Turn::wait(dense.cancel_flag())?;
        let index = match build_one(dense, rows, &plan.build) {
            Ok(index) => index,
            Err(DenseError::Cancelled) => return Err(DenseError::Cancelled),
            Err(error) => {
                tracing::warn!(
                    segment = name,
                    field = rows.field().name(),
                    "no approximate index is built, its rows will be scanned: {error}"
                );
                continue;
            }
        };
        let mut writer = match out.take() {
            Some(writer) => writer,
            None => AnnFileWriter::new(segment.clone().open_write(ann_component())?)?,
        };
        add(&mut writer, rows, index, &plan)?;
        out = Some(writer);
        drop(turn);
    }
    match out {
        Some(writer) => Ok(writer.finish()?.terminate()?),
        None => Ok(()),
    }
}

fn build_one(dense: &Inner, rows: &FieldRows, build: &AnnBuild) -> Result<AnnIndex, DenseError> {
    let started = std::time::Instant::now();
    tracing::info!(field = rows.field().name(), rows = rows.len(), factory = build.factory, "building an index");
    let index = AnnIndex::build(build, rows, dense.cancel_flag())?;
    tracing::info!(
        field = rows.field().name(),
        seconds = started.elapsed().as_secs_f64(),
        memory_bytes = index.memory_bytes(),
        "index built"
    );
    Ok(index)
}

fn add(
    writer: &mut AnnFileWriter<WritePtr>,
    rows: &FieldRows,
    index: AnnIndex,
    plan: &AnnPlan,
) -> Result<(), DenseError> {
    // A graph over rows that lie beside it, as they are, need not repeat them.
    let beside = rows.options().element_type() == Element::F32 && rows.values().whole().is_some();
    let without_rows = beside && index.can_leave_out_rows();
    let field = rows.field().field().field_id();
    writer.add(field, &index, &plan.build, &plan.search, rows.rows_checksum(), without_rows)
}
