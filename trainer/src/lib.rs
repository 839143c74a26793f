//! ADAM: distils a cross-encoder teacher into a small dual-encoder student.
