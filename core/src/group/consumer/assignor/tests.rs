//! Assignor tests.
