//! Rule tests: inputs to exact effects.
