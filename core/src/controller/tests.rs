//! Rule tests: what the controller proposes and answers.
