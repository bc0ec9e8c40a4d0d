//! The `highwater` command.
#![deny(unsafe_code)]

//SERVE mod admin;
mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
