//! Lessons, in the order of a user's journey.
