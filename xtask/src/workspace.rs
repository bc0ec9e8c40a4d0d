//! Where the repository is, and how cargo is called in both builds.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target directory of the simulation build, relative to the root.
pub const SIMULATION_TARGET: &str = "target/sim";

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package lies inside the workspace").to_path_buf()
}

/// `cargo` in the root of the repository, for the normal build.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What `cargo xtask` set for this process must not leak into the builds it starts.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// `cargo` for the simulation build: its own flags and its own target directory.
#[must_use]
pub fn simulation_cargo() -> Command {
    let mut command = cargo();
    command
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "--cfg madsim")
        .env("CARGO_TARGET_DIR", root().join(SIMULATION_TARGET));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.toml").is_file());
        assert!(root().join("xtask").is_dir());
    }
}
