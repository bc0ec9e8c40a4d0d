//! Gets sources through the clients of the registries that carry them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Lets cargo fetch a crate and says where its sources are. `home` is for the package that asks
/// for it.
pub fn crate_sources(home: &Path, name: &str, version: &str) -> Result<PathBuf> {
    let package = home.join("fetch");
    std::fs::create_dir_all(package.join("src"))?;
    std::fs::write(package.join("src/lib.rs"), "//! Nothing: only the dependency is wanted.\n")?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    std::fs::write(package.join("Cargo.toml"), manifest)?;
    let output = workspace::cargo()
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo cannot fetch {name} {version}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    sources_in(&metadata, name).with_context(|| format!("cargo does not say where {name} is"))
}

/// Unpacks a gzipped tarball into `directory`, which is emptied before.
pub fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::create_dir_all(directory)?;
    let unpacked = Command::new("tar")
        .args(["--extract", "--gzip", "--strip-components=1", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(directory)
        .status()
        .context("cannot start tar")?;
    ensure!(unpacked.success(), "tar cannot unpack {}", archive.display());
    Ok(())
}

/// The one file of this ending in a directory.
pub fn file_with_ending(directory: &Path, ending: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "{} files *{ending} in {}", found.len(), directory.display());
    Ok(found.remove(0))
}

fn sources_in(metadata: &serde_json::Value, name: &str) -> Option<PathBuf> {
    let packages = metadata["packages"].as_array()?;
    let package = packages.iter().find(|package| package["name"] == name)?;
    Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_lie_beside_the_manifest() {
        let metadata = serde_json::json!({
            "packages": [{"name": "other", "manifest_path": "/registry/other/Cargo.toml"},
                         {"name": "wanted", "manifest_path": "/registry/wanted/Cargo.toml"}]
        });
        assert_eq!(sources_in(&metadata, "wanted"), Some(PathBuf::from("/registry/wanted")));
    }
}
