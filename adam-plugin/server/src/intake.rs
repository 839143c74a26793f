//! Bodies of requests: read whole before a place is taken for their work, and read to their end where they are refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::api_error::ApiError;
use crate::limits::Limits;
use crate::link::{Link, STEP};

/// Bytes of a refused request's body that are read and discarded. A client that is still sending when the connection closes
/// often sees a broken pipe instead of the answer.
const DRAINED: usize = 64 << 20;
/// Time for that.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// So much of each body is read however many others there are: so searches always get through.
const SMALL: usize = 64 << 10;

/// What bodies may take: size, time, and memory together.
#[derive(Clone)]
pub(crate) struct Intake {
    /// Largest body, in bytes.
    most: usize,
    /// Time for a whole body.
    time: Duration,
    /// Time for [`STEP`] bytes of it.
    step_time: Duration,
    /// Bytes of large bodies that may be held at once.
    permits: Arc<Semaphore>,
}

impl Intake {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.body_bytes,
            time: limits.time,
            step_time: limits.head_time,
            permits: Arc::new(Semaphore::new(limits.bodies_bytes.max(limits.body_bytes))),
        }
    }

    fn too_large(&self) -> ApiError {
        ApiError::too_large(format!("the body is larger than {} bytes, the limit of this server", self.most))
    }

    /// The whole body, and the permits for its bytes.
    async fn collect(
        &self,
        body: &mut Body,
        declared: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
        if declared > self.most {
            return Err(self.too_large());
        }
        let mut kept: Vec<u8> = Vec::with_capacity(declared.min(SMALL));
        let mut held: Option<OwnedSemaphorePermit> = None;
        let end = Instant::now() + self.time;
        let mut step = (Instant::now(), 0);
        loop {
            let patience = end.min(step.0 + self.step_time);
            let Ok(frame) = tokio::time::timeout_at(patience, body.frame()).await else {
                return Err(self.too_slow());
            };
            let Some(frame) = frame else { break };
            let frame =
                frame.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "validation", "the body ends too early"))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = kept.len() + data.len();
            if length > self.most {
                return Err(self.too_large());
            }
            let wanted = length.saturating_sub(SMALL + held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
            if wanted > 0 {
                let more = u32::try_from(wanted).ok();
                let more = more.and_then(|more| Arc::clone(&self.permits).try_acquire_many_owned(more).ok());
                let Some(more) = more else {
                    return Err(ApiError::overloaded("too many large bodies at once; try again in a moment"));
                };
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
            }
            kept.extend_from_slice(&data);
            step.1 += data.len();
            if step.1 >= STEP {
                step = (Instant::now(), 0);
            }
        }
        Ok((kept.into(), held))
    }

    fn too_slow(&self) -> ApiError {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!(
                "the body came too slowly: it has {} s, and {} s for every {STEP} bytes",
                self.time.as_secs_f64(),
                self.step_time.as_secs_f64()
            ),
        )
    }
}

/// Reads the whole body of a request before the request is handled.
pub(crate) async fn read(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, mut body) = request.into_parts();
    let link = parts.extensions.get::<Arc<Link>>().cloned();
    let declared = content_length(&parts.headers);
    if let Some(link) = &link {
        link.waits_for_client(true);
    }
    let read = intake.collect(&mut body, declared).await;
    if let Some(link) = &link {
        link.waits_for_client(false);
    }
    match read {
        Ok((bytes, _held)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Length of a body as its head has it, or 0.
fn content_length(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// Reads what a refusal left of a request's body, so that the client gets to read the answer. Where there is too much of it, the
/// answer says that the connection closes.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let link = parts.extensions.get::<Arc<Link>>().cloned();
    // Who asks before sending has not begun to send.
    let asks = parts.headers.contains_key(header::EXPECT);
    let declared = content_length(&parts.headers);
    let (back, mut returned) = oneshot::channel();
    let body = Body::new(RequestBody { body: Some(body), begun: false, back: Some(back) });
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Ok((rest, begun)) = returned.try_recv() else { return response };
    let slow = response.status() == StatusCode::REQUEST_TIMEOUT;
    let read = if (asks && !begun) || slow || declared > DRAINED {
        false
    } else {
        if let Some(link) = &link {
            link.waits_for_client(true);
        }
        let read = tokio::time::timeout(DRAIN_TIME, discard(rest)).await.unwrap_or(false);
        if let Some(link) = &link {
            link.waits_for_client(false);
        }
        read
    };
    if !read {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(link) = link {
            link.leaves_unread();
        }
    }
    response
}

/// Reads a body to its end; false if it is too long, or does not arrive.
async fn discard(mut body: Body) -> bool {
    let mut passed = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        passed += frame.data_ref().map_or(0, Bytes::len);
        if passed > DRAINED {
            return false;
        }
    }
    true
}

/// A body that goes back to its owner when it is dropped before its end.
struct RequestBody {
    body: Option<Body>,
    begun: bool,
    back: Option<oneshot::Sender<(Body, bool)>>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if let Some(back) = self.back.take() {
            // Nobody waits for it where the whole request was dropped.
            let _ = back.send((body, self.begun));
        }
    }
}
