//! Shaping the fused score by what is known of a document: how old it is, how often it was bought, whether it matches a filter.
//!
//! A [`Boost`] is a function of the document alone: a *signal* read from a fast field or a query, and how it is put together with the
//! score. Boosts act one after the other, after the fusion and before ranks are made, so pages of a shaped ranking fit together as
//! those of any other. What no arm brings into the window is not looked at: choose the window as large as boosts shall reach.
//!
//! # Signals
//! - [`Decay`]: 1 at the origin, falling with the distance from it. With `d = max(0, |value - origin| - offset)` and the value `m` that it
//!   has at a distance of `scale` (0.5 if not said): linear `max(0, 1 - d (1 - m) / scale)`, exponential `m^(d / scale)`, Gaussian `m^((d / scale)^2)`.
//! - Logarithm: `ln(1 + factor * max(0, value))`.
//! - Saturation: `max(0, value) / (max(0, value) + pivot)`, 0.5 at the pivot.
//! - A query that matches: a number of your choice.
//!
//! # Putting together
//! - [`Combine::Multiply`] by the factor `f = 1 + weight * (signal - 1)`, weight 0 to 1: with 1 the factor is the signal, with 0 nothing happens.
//!   A score below 0, such as a cosine's or a z-score, is divided by `f` instead, so that a larger factor is always better.
//! - [`Combine::Add`]: `weight * signal` is added.
//! - A document without the value, or that does not match the query, keeps its score, unless [`Boost::missing`] names a signal for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tantivy::query::{Explanation, Query};
use tantivy::schema::FieldType;
use tantivy::{DateTime, DocAddress, Searcher};

use super::seek;
use super::values::{FieldValue, ValueField};
use crate::DenseError;
use crate::query::everything_but;

/// Factors are no less than this where a score is divided by them.
const LEAST_FACTOR: f64 = 1e-6;

/// How a signal falls with the distance from its origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// In a straight line, to 0.
    Linear,
    /// By the same share for each step.
    #[default]
    Exponential,
    /// Slowly near the origin, then quickly.
    Gaussian,
}

impl fmt::Display for Curve {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Curve::Linear => "linear",
            Curve::Exponential => "exponential",
            Curve::Gaussian => "gaussian",
        })
    }
}

/// A signal that falls with the distance from an origin, in numbers or in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    curve: Curve,
    origin: Origin,
    scale: f64,
    offset: f64,
    at_scale: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Number(f64),
    Date(DateTime),
}

impl Decay {
    /// Around a number; at a distance of `scale` the signal is 0.5.
    pub fn from_number(curve: Curve, origin: f64, scale: f64) -> Decay {
        Decay { curve, origin: Origin::Number(origin), scale, offset: 0.0, at_scale: 0.5 }
    }

    /// Around a date; at a distance of `scale` the signal is 0.5.
    pub fn from_date(curve: Curve, origin: DateTime, scale: Duration) -> Decay {
        Decay { curve, origin: Origin::Date(origin), scale: scale.as_secs_f64(), offset: 0.0, at_scale: 0.5 }
    }

    /// The distance, in numbers or seconds, up to which the signal is 1; 0 if not said.
    #[must_use]
    pub fn offset(mut self, offset: f64) -> Decay {
        self.offset = offset;
        self
    }

    /// The signal at a distance of `scale` beyond the offset, above 0 and below 1; 0.5 if not said.
    #[must_use]
    pub fn at_scale(mut self, signal: f64) -> Decay {
        self.at_scale = signal;
        self
    }

    /// The signal of a distance from the origin, 0 to 1. A pure function.
    pub fn signal(&self, distance: f64) -> f64 {
        let steps = (distance.abs() - self.offset).max(0.0) / self.scale;
        match self.curve {
            Curve::Linear => (1.0 - steps * (1.0 - self.at_scale)).max(0.0),
            Curve::Exponential => self.at_scale.powf(steps),
            Curve::Gaussian => self.at_scale.powf(steps * steps),
        }
    }

    fn distance(&self, value: &FieldValue) -> Option<f64> {
        match (self.origin, value) {
            (Origin::Number(origin), FieldValue::Number(number)) => Some(number.as_f64() - origin),
            (Origin::Date(origin), FieldValue::Date(date)) => {
                let nanoseconds = i128::from(date.into_timestamp_nanos()) - i128::from(origin.into_timestamp_nanos());
                Some(nanoseconds as f64 / 1e9)
            }
            _ => None,
        }
    }

    fn problem(&self) -> Option<String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if let Origin::Number(origin) = self.origin
            && !origin.is_finite()
        {
            return Some(format!("the origin must be a number, and is {origin}"));
        }
        if !positive(self.scale) {
            return Some(format!("the scale must be above 0, and is {}", self.scale));
        }
        if !(self.offset.is_finite() && self.offset >= 0.0) {
            return Some(format!("the offset must be 0 or more, and is {}", self.offset));
        }
        if !(self.at_scale > 0.0 && self.at_scale < 1.0) {
            return Some(format!("the decay must be above 0 and below 1, and is {}", self.at_scale));
        }
        None
    }
}

/// How a signal and the score become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// The score is multiplied by `1 + weight * (signal - 1)`.
    #[default]
    Multiply,
    /// `weight * signal` is added to the score.
    Add,
}

#[derive(Clone, Debug)]
enum Signal {
    Decay(ValueField, Decay),
    Logarithm(ValueField, f64),
    Saturation(ValueField, f64),
    Query(Arc<dyn Query>, String, f64),
}

/// What a document's fields do to its fused score; see the [module](self).
#[derive(Clone, Debug)]
pub struct Boost {
    signal: Signal,
    combine: Combine,
    weight: f64,
    missing: Option<f64>,
}

/// What a boost did to a hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostEffect {
    /// The signal; none where the document has no value and [`Boost::missing`] names none, or does not match.
    pub signal: Option<f64>,
    /// The score after it.
    pub score: f32,
}

impl Boost {
    fn new(signal: Signal) -> Boost {
        Boost { signal, combine: Combine::default(), weight: 1.0, missing: None }
    }

    /// By the distance of a number or date from an origin.
    pub fn decay(field: ValueField, decay: Decay) -> Boost {
        Boost::new(Signal::Decay(field, decay))
    }

    /// By the logarithm of a number: `ln(1 + factor * value)`. Numbers below 0 count as 0.
    pub fn logarithm(field: ValueField, factor: f64) -> Boost {
        Boost::new(Signal::Logarithm(field, factor))
    }

    /// By a number that counts less and less: `value / (value + pivot)`. Numbers below 0 count as 0.
    pub fn saturation(field: ValueField, pivot: f64) -> Boost {
        Boost::new(Signal::Saturation(field, pivot))
    }

    /// The signal `value` for documents that match a query, whose scores do not count. `name` stands in explanations.
    pub fn matching(query: Box<dyn Query>, name: impl Into<String>, value: f64) -> Boost {
        Boost::new(Signal::Query(Arc::from(everything_but(query)), name.into(), value))
    }

    /// Multiplied, if not said, or added.
    #[must_use]
    pub fn combine(mut self, combine: Combine) -> Boost {
        self.combine = combine;
        self
    }

    /// How much it counts: 0 to 1 where it is multiplied, any number where it is added. 1 if not said.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Boost {
        self.weight = weight;
        self
    }

    /// The signal of documents without the value, or that do not match the query. If not said, they keep their score.
    #[must_use]
    pub fn missing(mut self, signal: f64) -> Boost {
        self.missing = Some(signal);
        self
    }

    /// The score under a signal. A pure function: a larger score never becomes the smaller one, and where the weight is not negative, a
    /// larger signal never makes a score smaller.
    pub fn apply(&self, score: f32, signal: f64) -> f32 {
        let score = f64::from(score);
        let shaped = match self.combine {
            Combine::Add => score + self.weight * signal,
            Combine::Multiply => {
                let factor = (1.0 + self.weight * (signal - 1.0)).max(0.0);
                if score >= 0.0 { score * factor } else { score / factor.max(LEAST_FACTOR) }
            }
        };
        // -0 would be ordered below 0.
        (shaped.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32) + 0.0
    }

    fn of_value(&self, value: &FieldValue) -> Option<f64> {
        let number = || match value {
            FieldValue::Number(number) => Some(number.as_f64().max(0.0)),
            FieldValue::Bool(truth) => Some(f64::from(u8::from(*truth))),
            _ => None,
        };
        match &self.signal {
            Signal::Decay(_, decay) => decay.distance(value).map(|distance| decay.signal(distance)),
            Signal::Logarithm(_, factor) => number().map(|value| (factor * value).min(f64::MAX).ln_1p()),
            Signal::Saturation(_, pivot) => number().map(|value| 1.0 - pivot / (value + pivot)),
            Signal::Query(_, _, value) => Some(*value),
        }
    }

    /// Refuses what makes no sense, before anything is searched.
    pub(super) fn check(&self, searcher: &Searcher) -> Result<(), DenseError> {
        let problem = match &self.signal {
            Signal::Decay(_, decay) => decay.problem(),
            Signal::Logarithm(_, factor) if !(factor.is_finite() && *factor > 0.0) => {
                Some(format!("the factor must be above 0, and is {factor}"))
            }
            Signal::Saturation(_, pivot) if !(pivot.is_finite() && *pivot > 0.0) => {
                Some(format!("the pivot must be above 0, and is {pivot}"))
            }
            Signal::Query(_, _, value) if !value.is_finite() => Some(format!("its number is {value}")),
            Signal::Query(_, _, value) if self.combine == Combine::Multiply && *value < 0.0 => {
                Some(format!("a score cannot be multiplied by {value}; the least is 0"))
            }
            _ => None,
        };
        let problem = problem.or_else(|| match self.combine {
            _ if !self.weight.is_finite() => Some(format!("the weight must be a number, and is {}", self.weight)),
            Combine::Multiply if !(0.0..=1.0).contains(&self.weight) => Some(format!(
                "the weight must lie in 0..=1 where the score is multiplied, and is {}; added, it may be any number",
                self.weight
            )),
            _ => None,
        });
        let problem = problem.or_else(|| {
            let missing = self.missing?;
            let least = if self.combine == Combine::Multiply { 0.0 } else { f64::NEG_INFINITY };
            (!missing.is_finite() || missing < least)
                .then(|| format!("the signal of documents without the value is {missing}"))
        });
        if let Some(problem) = problem {
            return Err(DenseError::Fusion { why: format!("the boost by {}: {problem}", self.subject()) });
        }
        match &self.signal {
            Signal::Decay(field, _) | Signal::Logarithm(field, _) | Signal::Saturation(field, _) => {
                self.check_type(field, field.check(searcher)?)
            }
            Signal::Query(..) => Ok(()),
        }
    }

    fn check_type(&self, field: &ValueField, kind: &FieldType) -> Result<(), DenseError> {
        let needs = match &self.signal {
            Signal::Decay(_, Decay { origin: Origin::Date(_), .. }) => "a date as its origin needs dates",
            Signal::Decay(..) => "a number as its origin needs numbers",
            _ => "it needs numbers",
        };
        let by_date = matches!(&self.signal, Signal::Decay(_, Decay { origin: Origin::Date(_), .. }));
        let found = match kind {
            FieldType::JsonObject(_) => return Ok(()),
            FieldType::Date(_) if by_date => return Ok(()),
            FieldType::U64(_) | FieldType::I64(_) | FieldType::F64(_) if !by_date => return Ok(()),
            FieldType::Bool(_) if !matches!(self.signal, Signal::Decay(..)) => return Ok(()),
            FieldType::Str(_) if field.reads_text() => return Ok(()),
            FieldType::Date(_) => "dates",
            FieldType::U64(_) | FieldType::I64(_) | FieldType::F64(_) => "numbers",
            FieldType::Bool(_) => "true or false",
            FieldType::IpAddr(_) => "IP addresses",
            FieldType::Facet(_) => "facets",
            _ => "text",
        };
        Err(field.refuse(format!("a boost cannot use it: it holds {found}, and {needs}")))
    }

    /// What the boost looks at, in words.
    fn subject(&self) -> String {
        match &self.signal {
            Signal::Decay(field, _) | Signal::Logarithm(field, _) | Signal::Saturation(field, _) => {
                format!("`{}`", field.name())
            }
            Signal::Query(_, name, _) => format!("the filter `{name}`"),
        }
    }

    /// The signals of documents that come in the order of their addresses.
    fn signals(&self, searcher: &Searcher, documents: &[DocAddress]) -> Result<Vec<Option<f64>>, DenseError> {
        let signals: Vec<Option<f64>> = match &self.signal {
            Signal::Query(query, _, value) => seek::matches(query.as_ref(), searcher, documents)?
                .into_iter()
                .map(|matches| matches.then_some(*value))
                .collect(),
            Signal::Decay(field, _) | Signal::Logarithm(field, _) | Signal::Saturation(field, _) => {
                let reader = field.open(searcher)?;
                let signal = |address: &DocAddress| -> Result<Option<f64>, DenseError> {
                    Ok(reader.value(*address)?.and_then(|value| self.of_value(&value)))
                };
                documents.iter().map(signal).collect::<Result<_, _>>()?
            }
        };
        Ok(signals.into_iter().map(|signal| signal.or(self.missing)).collect())
    }

    /// What it does, and to which number.
    fn title(&self, signal: Option<f64>) -> String {
        let what = match &self.signal {
            Signal::Decay(field, decay) => format!("{} decay of `{}`", decay.curve, field.name()),
            Signal::Logarithm(field, factor) => format!("logarithm of {factor} x `{}`", field.name()),
            Signal::Saturation(field, pivot) => format!("saturation of `{}` at {pivot}", field.name()),
            Signal::Query(_, name, _) => format!("filter `{name}`"),
        };
        match (signal, self.combine) {
            (None, _) => format!("after the {what}: no value, the score is kept"),
            (Some(signal), Combine::Multiply) => {
                format!("after the {what}: {signal:.4}, weight {}, multiplied", self.weight)
            }
            (Some(signal), Combine::Add) => format!("after the {what}: {signal:.4}, weight {}, added", self.weight),
        }
    }
}

/// Shapes the scores of candidates, which come in the order of their addresses. One list of effects for each boost.
pub(super) fn shape(
    boosts: &[Boost],
    searcher: &Searcher,
    candidates: &[DocAddress],
    scores: &mut [f32],
) -> Result<Vec<Vec<BoostEffect>>, DenseError> {
    let mut effects = Vec::with_capacity(boosts.len());
    for boost in boosts {
        let signals = boost.signals(searcher, candidates)?;
        let effect = |(score, signal): (&mut f32, Option<f64>)| {
            if let Some(signal) = signal {
                *score = boost.apply(*score, signal);
            }
            BoostEffect { signal, score: *score }
        };
        effects.push(scores.iter_mut().zip(signals).map(effect).collect());
    }
    Ok(effects)
}

/// What the boosts did to a hit, for its explanation.
pub(super) fn explain(boosts: &[Boost], effects: &[BoostEffect]) -> Vec<Explanation> {
    let one = |(boost, effect): (&Boost, &BoostEffect)| {
        Explanation::new_with_string(boost.title(effect.signal), effect.score)
    };
    boosts.iter().zip(effects).map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hybrid::Number;

    fn field() -> ValueField {
        ValueField::new("x")
    }

    #[test]
    fn decays_worked_by_hand() {
        let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-12, "{got} {wanted}");
        let decay = |curve| Decay::from_number(curve, 0.0, 10.0).offset(5.0);
        for curve in [Curve::Linear, Curve::Exponential, Curve::Gaussian] {
            near(decay(curve).signal(0.0), 1.0);
            near(decay(curve).signal(-5.0), 1.0);
            near(decay(curve).signal(15.0), 0.5);
            near(decay(curve).at_scale(0.2).signal(-15.0), 0.2);
        }
        near(decay(Curve::Linear).signal(20.0), 0.25);
        near(decay(Curve::Linear).signal(1000.0), 0.0);
        near(decay(Curve::Exponential).signal(25.0), 0.25);
        near(decay(Curve::Gaussian).signal(25.0), 0.0625);
        near(Boost::saturation(field(), 4.0).of_value(&FieldValue::Number(Number::Whole(4))).unwrap(), 0.5);
        near(Boost::logarithm(field(), 1.0).of_value(&FieldValue::Number(Number::Whole(-4))).unwrap(), 0.0);
        let hour = Decay::from_date(Curve::Linear, DateTime::from_timestamp_secs(0), Duration::from_secs(3600));
        let later = FieldValue::Date(DateTime::from_timestamp_secs(1800));
        near(hour.signal(hour.distance(&later).unwrap()), 0.75);
    }

    fn boosts() -> impl Strategy<Value = Boost> {
        let signal = prop_oneof![
            (0.01f64..100.0).prop_map(|factor| Boost::logarithm(field(), factor)),
            (0.01f64..100.0).prop_map(|pivot| Boost::saturation(field(), pivot)),
            (-50.0f64..50.0, 0.01f64..30.0, 0.0f64..10.0, 0.01f64..0.99, 0u8..3).prop_map(
                |(origin, scale, offset, at, curve)| {
                    let curve = [Curve::Linear, Curve::Exponential, Curve::Gaussian][usize::from(curve)];
                    Boost::decay(field(), Decay::from_number(curve, origin, scale).offset(offset).at_scale(at))
                }
            ),
        ];
        (signal, 0.0f64..=1.0, prop::bool::ANY).prop_map(|(boost, weight, add)| {
            boost.weight(weight).combine(if add { Combine::Add } else { Combine::Multiply })
        })
    }

    proptest! {
        #[test]
        fn orders_are_kept_and_larger_signals_are_no_worse(
            boost in boosts(), a in -1e3f32..1e3, b in -1e3f32..1e3, x in 0.0f64..50.0, y in 0.0f64..50.0,
        ) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(boost.apply(low, x) <= boost.apply(high, x), "{:?} turns {} and {} round", boost, low, high);
            let (less, more) = (x.min(y), x.max(y));
            prop_assert!(boost.apply(a, less) <= boost.apply(a, more), "{:?} at {}: {} {}", boost, a, less, more);
            prop_assert!(boost.apply(a, x).is_finite());
        }

        #[test]
        fn signals_are_finite_and_fall_with_the_distance(boost in boosts(), value in -1e9f64..1e9) {
            let signal = |value: f64| boost.of_value(&FieldValue::Number(Number::of(value).unwrap())).unwrap();
            prop_assert!(signal(value).is_finite() && signal(value) >= 0.0);
            if let Signal::Decay(_, decay) = &boost.signal {
                prop_assert!(signal(value) <= 1.0);
                prop_assert!(decay.signal(value) >= decay.signal(value * 1.5));
                prop_assert_eq!(decay.signal(value), decay.signal(-value));
            }
        }

        #[test]
        fn a_weight_of_zero_changes_nothing(boost in boosts(), score in -1e3f32..1e3, signal in 0.0f64..50.0) {
            prop_assert_eq!(boost.weight(0.0).apply(score, signal), score + 0.0);
        }
    }
}
