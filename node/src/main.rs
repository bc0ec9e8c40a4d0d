//! The `highwater` command.
#![deny(unsafe_code)]

mod admin;
mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
