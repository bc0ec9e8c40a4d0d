//! Rule tests of consumer groups.
