//! The automation entry.
fn main() {}
