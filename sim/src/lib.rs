//! The Highwater simulator.
