//! Comparing vectors as fast as the machine can.
