//! Deep pages by a cursor: it knows where the page before ended, of which request, and in which state of the index.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tantivy::Searcher;

use crate::engine::request::SearchRequest;
use crate::error::PluginError;

/// Begins a walk over pages.
pub(super) const FIRST: &str = "*";
/// Most hits that cursors reach, `top` included.
pub const MAX_DEEP_HITS: usize = 100_000;

/// Where a page begins.
struct Place {
    offset: usize,
    request: u64,
    index: u64,
    /// What `now` is in boosts, in seconds since 1970: the same on all pages.
    now: i64,
}

impl Place {
    fn write(&self) -> String {
        format!("{}-{:016x}-{:016x}-{}", self.offset, self.request, self.index, self.now)
    }

    fn read(text: &str) -> Option<Place> {
        let mut parts = text.split('-');
        let hash = |part: &str| u64::from_str_radix(part, 16).ok().filter(|_| part.len() == 16);
        let place = Place {
            offset: parts.next()?.parse().ok()?,
            request: hash(parts.next()?)?,
            index: hash(parts.next()?)?,
            now: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }
}

/// A request at the place that its cursor names; without one, as it is.
///
/// # Errors
/// When the cursor is none, is of another request, or the index has changed since it was made.
pub(in crate::engine) fn at_cursor<'a>(
    searcher: &Searcher,
    request: &'a SearchRequest,
) -> Result<Cow<'a, SearchRequest>, PluginError> {
    let refuse = |problem: String| Err(PluginError::Query { problem });
    let Some(cursor) = &request.refinement.cursor else { return Ok(Cow::Borrowed(request)) };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut request = request.clone();
    request.refinement.now = Some(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    if cursor == FIRST {
        return Ok(Cow::Owned(request));
    }
    let Some(place) = Place::read(cursor) else {
        return refuse("its cursor is none; begin with `*`, and go on with the cursor of the answer before".to_owned());
    };
    if place.request != of_request(&request) {
        return refuse(
            "its cursor is of another request; only the number of hits and what is shown of them may change".to_owned(),
        );
    }
    if place.index != of_index(searcher) {
        return refuse("the index has changed since its cursor was made, so that pages would not fit together; begin again with `*`".to_owned());
    }
    if place.offset.saturating_add(request.top) > MAX_DEEP_HITS {
        return refuse(format!("its cursor goes beyond {MAX_DEEP_HITS} hits"));
    }
    request.offset = place.offset;
    request.refinement.now = Some(place.now);
    Ok(Cow::Owned(request))
}

/// The cursor of the page after one that showed `shown` hits or groups; none after the last.
pub(in crate::engine) fn next(searcher: &Searcher, request: &SearchRequest, shown: usize) -> Option<String> {
    request.refinement.cursor.as_ref()?;
    let place = Place {
        offset: request.offset + shown,
        request: of_request(request),
        index: of_index(searcher),
        now: request.refinement.now?,
    };
    (shown > 0 && shown == request.top).then(|| place.write())
}

/// What of a request decides its ranking, as a number.
fn of_request(request: &SearchRequest) -> u64 {
    let mut request = request.clone().top(0).offset(0).explain(false).snippets(false).total(false);
    request.refinement.cursor = None;
    request.refinement.now = None;
    request.refinement.facets.clear();
    request.refinement.aggregations = None;
    request.refinement.highlight = false;
    number(format!("{request:?}").as_bytes())
}

/// The state of an index as a searcher sees it, as a number.
fn of_index(searcher: &Searcher) -> u64 {
    let state: Vec<String> = searcher
        .segment_readers()
        .iter()
        .map(|reader| format!("{} {:?}", reader.segment_id().uuid_string(), reader.delete_opstamp()))
        .collect();
    number(state.join(",").as_bytes())
}

fn number(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}
