//! Whose data a directory holds: the file `node.properties`, written by the first start before
//! anything else and verified by every later one.
//!
//! A broker that found the data of another one would acknowledge in its name. So a directory of
//! another node, another cluster or another format is refused, with what to do about it.

use crate::{
    config::BrokerConfig,
    env::{Disk, Entropy, OpenMode},
    internal,
};
use bytes::Bytes;
use highwater_core::types::{BrokerId, DirectoryId};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The file, in the data directory.
pub const FILE: &str = "node.properties";
const TEMPORARY_FILE: &str = "node.properties.tmp";
/// What only a directory with an identity has in it.
const METADATA_DIRECTORY: &str = "metadata";
/// The format of the data directory as a whole.
const FORMAT: u32 = 1;
/// More than any file of any format has.
const FILE_BYTES_MAX: usize = 64 << 10;
const HEADING: &str = "# Whose data this directory holds. Written by the first start; do not edit.";

/// Whose data a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The broker.
    pub node: BrokerId,
    /// The directory itself, drawn when it was first used (KIP-858): a disk that was replaced has
    /// another one.
    pub directory: DirectoryId,
    /// Its cluster; `None` for a broker that is alone and was given no `cluster.id`.
    pub cluster_id: Option<String>,
}

/// Why a data directory is not this broker's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Disk { path: PathBuf, error: io::Error },
    /// The file is not what this broker wrote.
    #[error(
        "{} is damaged ({reason}); restore it from a back-up of this data directory, or give the \
         broker an empty one with --data",
        path.display()
    )]
    Damaged { path: PathBuf, reason: &'static str },
    /// There is data, and nothing says whose.
    #[error(
        "data directory {} has data and no {FILE}: it was written by an older build, or that file \
         was lost; restore it from a back-up of this data directory, or give the broker an empty \
         one with --data",
        path.display()
    )]
    Missing { path: PathBuf },
    /// Another release wrote the data.
    #[error(
        "data directory {} has format {found}, and this build uses format {FORMAT}; run the \
         release that wrote it, or give the broker an empty directory with --data",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    /// Another broker wrote the data.
    #[error(
        "data directory {} belongs to node {found}, and node.id is {configured}; give this broker \
         its own directory with --data, or set node.id = {found}",
        path.display()
    )]
    Node { path: PathBuf, found: BrokerId, configured: BrokerId },
    /// A broker of another cluster wrote the data.
    #[error(
        "data directory {} belongs to cluster `{found}`, and cluster.id is `{configured}`; give \
         this broker its own directory with --data, or set cluster.id = \"{found}\"",
        path.display()
    )]
    Cluster { path: PathBuf, found: String, configured: String },
    /// A broker that was alone wrote the data.
    #[error(
        "data directory {} was written by a broker that was alone and not by one of cluster \
         `{configured}`; start the cluster with empty directories, or leave \
         controller.quorum.voters out",
        path.display()
    )]
    Alone { path: PathBuf, configured: String },
}

/// Makes sure that the data directory is this broker's, and writes so at its first start.
///
/// # Errors
/// It is somebody else's, or the disk fails. Nothing was changed.
pub async fn claim(
    config: &BrokerConfig,
    disk: &dyn Disk,
    entropy: &dyn Entropy,
) -> Result<Identity, IdentityError> {
    let dir = &config.data_dir;
    let at = |error| IdentityError::Disk { path: dir.join(FILE), error };
    let Some(found) = read(disk, dir).await? else {
        let (high, low) = (entropy.next_u64(), entropy.next_u64());
        let directory = DirectoryId(u128::from(high) << 64 | u128::from(low));
        let (node, cluster_id) = (config.node_id, config.cluster_id.clone());
        let configured = Identity { node, directory, cluster_id };
        let entries = disk.list(dir).await.map_err(at)?;
        if entries.iter().any(|entry| entry.name == METADATA_DIRECTORY) {
            return Err(IdentityError::Missing { path: dir.clone() });
        }
        write(disk, dir, &configured).await.map_err(at)?;
        return Ok(configured);
    };
    let claimed = reconcile(config, &found)?;
    if claimed == found {
        // What is seen here may not be durable yet.
        disk.sync_dir(dir).await.map_err(at)?;
    } else {
        write(disk, dir, &claimed).await.map_err(at)?;
    }
    Ok(claimed)
}

/// What the directory says under what the configuration says.
fn reconcile(config: &BrokerConfig, found: &Identity) -> Result<Identity, IdentityError> {
    let path = || config.data_dir.clone();
    if found.node != config.node_id {
        let (found, configured) = (found.node, config.node_id);
        return Err(IdentityError::Node { path: path(), found, configured });
    }
    let cluster_id = match (&found.cluster_id, &config.cluster_id) {
        (Some(found), Some(configured)) if found != configured => {
            let (found, configured) = (found.clone(), configured.clone());
            return Err(IdentityError::Cluster { path: path(), found, configured });
        }
        (None, Some(configured)) if !config.voters.is_empty() => {
            return Err(IdentityError::Alone { path: path(), configured: configured.clone() });
        }
        (found, configured) => found.clone().or(configured.clone()),
    };
    Ok(Identity { cluster_id, ..found.clone() })
}

async fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = dir.join(FILE);
    let reading = async {
        let file = disk.open(&path, OpenMode::Read).await?;
        file.read_at(0, FILE_BYTES_MAX).await
    };
    match reading.await {
        Ok(bytes) => decode(&bytes, dir).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Disk { path, error }),
    }
}

/// Replaces the file: after a power cut there is the old one or the new one.
async fn write(disk: &dyn Disk, dir: &Path, identity: &Identity) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY_FILE);
    let file = disk.open(&temporary, OpenMode::Replace).await?;
    file.write_at(0, vec![encode(identity)]).await?;
    file.sync().await?;
    disk.rename(&temporary, &dir.join(FILE)).await?;
    disk.sync_dir(dir).await
}

fn encode(identity: &Identity) -> Bytes {
    let Identity { node, directory, .. } = identity;
    let mut text = format!(
        "{HEADING}\nversion={FORMAT}\nnode.id={}\ndirectory.id={:032x}\n",
        node.0, directory.0
    );
    if let Some(cluster_id) = &identity.cluster_id {
        text += &format!("cluster.id={cluster_id}\n");
    }
    let checksum = internal::checksum(text.as_bytes());
    text += &format!("crc32c={checksum:08x}\n");
    text.into()
}

fn decode(bytes: &[u8], dir: &Path) -> Result<Identity, IdentityError> {
    let damaged = |reason| IdentityError::Damaged { path: dir.join(FILE), reason };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    let (body, end) =
        text.trim_end_matches('\n').rsplit_once('\n').ok_or_else(|| damaged("it is cut short"))?;
    let checksum = format!("crc32c={:08x}", internal::checksum(&bytes[..=body.len()]));
    if end != checksum || !text.ends_with('\n') {
        return Err(damaged("its checksum does not match"));
    }
    let value = |key: &str| {
        body.lines().find_map(|line| line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')))
    };
    let version = value("version").and_then(|version| version.parse().ok());
    let version = version.ok_or_else(|| damaged("it has no version"))?;
    if version != FORMAT {
        return Err(IdentityError::Format { path: dir.to_owned(), found: version });
    }
    let node = value("node.id").and_then(|id| id.parse().ok());
    let node = BrokerId(node.ok_or_else(|| damaged("it has no node.id"))?);
    let directory = value("directory.id").and_then(|id| u128::from_str_radix(id, 16).ok());
    let directory = DirectoryId(directory.ok_or_else(|| damaged("it has no directory.id"))?);
    Ok(Identity { node, directory, cluster_id: value("cluster.id").map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Settings,
        env::{OsDisk, OsEntropy},
    };
    use std::fs::OpenOptions;

    struct Directory(tempfile::TempDir, OsDisk);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap(), OsDisk::new().unwrap())
        }

        async fn claim(&self, settings: &[(&str, &str)]) -> Result<Identity, IdentityError> {
            let mut all = Settings::new();
            all.set("log.dirs", self.0.path().to_str().unwrap(), "test");
            for (key, value) in settings {
                all.set(key, value, "test");
            }
            claim(&all.build().unwrap(), &self.1, &OsEntropy).await
        }

        async fn refusal(&self, settings: &[(&str, &str)]) -> String {
            self.claim(settings).await.expect_err("it is refused").to_string()
        }

        async fn put(&self, name: &str, bytes: Bytes) {
            let file = self.1.open(&self.0.path().join(name), OpenMode::Replace).await.unwrap();
            file.write_at(0, vec![bytes]).await.unwrap();
        }
    }

    const MEMBER: [(&str, &str); 4] = [
        ("node.id", "2"),
        ("cluster.id", "c"),
        ("listeners", "127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"),
        ("controller.quorum.voters", "2@127.0.0.1:9093"),
    ];

    const DIRECTORY: &str = "directory.id=0000000000000000000000000000abcd";

    fn member() -> Identity {
        let (node, directory) = (BrokerId(2), DirectoryId(0xabcd));
        Identity { node, directory, cluster_id: Some("c".to_owned()) }
    }

    #[test]
    fn the_bytes_of_the_file_never_change() {
        let identity = member();
        let bytes = encode(&identity);
        let text = std::str::from_utf8(&bytes).unwrap();
        let body = format!("{HEADING}\nversion=1\nnode.id=2\n{DIRECTORY}\ncluster.id=c\n");
        assert_eq!(text, format!("{body}crc32c={:08x}\n", internal::checksum(body.as_bytes())));
        assert_eq!(decode(&bytes, Path::new("d")).unwrap(), identity);
        let alone = Identity { cluster_id: None, ..member() };
        assert_eq!(decode(&encode(&alone), Path::new("d")).unwrap(), alone);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_damage() {
        let bytes = encode(&member());
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length], Path::new("d"));
            assert!(matches!(cut, Err(IdentityError::Damaged { .. })), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = decode(&flipped, Path::new("d"));
            assert!(matches!(flipped, Err(IdentityError::Damaged { .. })), "bit {bit}");
        }
    }

    #[tokio::test]
    async fn the_first_start_writes_whose_the_directory_is_and_later_ones_find_it() {
        let dir = Directory::new();
        let mine = dir.claim(&MEMBER).await.unwrap();
        assert_eq!(mine, Identity { directory: mine.directory, ..member() });
        let other = Directory::new().claim(&MEMBER).await.unwrap();
        assert_ne!(other.directory, mine.directory, "another directory is another identity");
        assert_eq!(dir.claim(&MEMBER).await.unwrap(), mine);
        assert_eq!(dir.claim(&[("node.id", "2")]).await.unwrap(), mine, "it is remembered");
    }

    #[tokio::test]
    async fn a_broker_that_is_alone_may_be_given_its_cluster_id_later() {
        let dir = Directory::new();
        assert_eq!(dir.claim(&[]).await.unwrap().cluster_id, None);
        assert_eq!(dir.claim(&[("cluster.id", "c")]).await.unwrap().cluster_id, Some("c".into()));
        let other = dir.refusal(&[("cluster.id", "d")]).await;
        assert!(other.contains("set cluster.id = \"c\""), "{other}");
    }

    #[tokio::test]
    async fn a_directory_of_somebody_else_is_refused_with_what_to_do() {
        let dir = Directory::new();
        dir.claim(&[("node.id", "2")]).await.unwrap();
        let node = dir.refusal(&[("node.id", "3")]).await;
        assert!(node.contains("belongs to node 2, and node.id is 3"), "{node}");
        let alone = dir.refusal(&MEMBER).await;
        assert!(alone.contains("start the cluster with empty directories"), "{alone}");
        assert!(dir.claim(&[("node.id", "2")]).await.is_ok(), "nothing was changed");
    }

    #[tokio::test]
    async fn another_format_and_data_without_an_identity_are_refused() {
        let dir = Directory::new();
        for version in ["0", "2"] {
            let body = format!("version={version}\nnode.id=1\n");
            let checksum = internal::checksum(body.as_bytes());
            dir.put(FILE, format!("{body}crc32c={checksum:08x}\n").into()).await;
            let format = dir.refusal(&[]).await;
            assert!(format.contains(&format!("has format {version}, and this build")), "{format}");
        }
        dir.1.remove(&dir.0.path().join(FILE)).await.unwrap();
        dir.1.create_dir(&dir.0.path().join(METADATA_DIRECTORY)).await.unwrap();
        assert!(dir.refusal(&[]).await.contains("has data and no node.properties"));
    }

    #[tokio::test]
    async fn what_an_interrupted_first_start_left_does_not_count() {
        let dir = Directory::new();
        dir.put(TEMPORARY_FILE, Bytes::from_static(b"half")).await;
        assert_eq!(dir.claim(&[("node.id", "4")]).await.unwrap().node, BrokerId(4));
        assert!(OpenOptions::new().read(true).open(dir.0.path().join(TEMPORARY_FILE)).is_err());
    }
}
