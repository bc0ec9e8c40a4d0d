//! Changes of one partition.
