//! The clients: how each is installed into `target/interop` and how its program is started.
//!
//! An installation is kept as long as what it was asked for stays the same: the request is
//! written beside it, last of all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Places;

/// The Java client's program starts faster without the optimising compiler, and needs little.
const JAVA_OPTIONS: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-Xmx256m"];

/// The pauses after an installation that failed: a registry may be away for a moment.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];

/// A client library or program that users have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The command-line tool on librdkafka, from Debian.
    Kcat,
    /// librdkafka for Python.
    ConfluentKafka,
    /// Pure Python.
    KafkaPython,
    /// Python's asyncio.
    Aiokafka,
    /// Node.js.
    Kafkajs,
    /// Pure Rust, old protocol versions.
    Rskafka,
    /// Pure Rust, the newest protocol versions.
    Krafka,
    /// Apache Kafka's own.
    Java,
}

impl Client {
    /// All of them, in the order of the run.
    pub const ALL: [Client; 8] = [
        Client::Kcat,
        Client::ConfluentKafka,
        Client::KafkaPython,
        Client::Aiokafka,
        Client::Kafkajs,
        Client::Rskafka,
        Client::Krafka,
        Client::Java,
    ];

    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Client::Kcat => "kcat",
            Client::ConfluentKafka => "confluent-kafka",
            Client::KafkaPython => "kafka-python",
            Client::Aiokafka => "aiokafka",
            Client::Kafkajs => "kafkajs",
            Client::Rskafka => "rskafka",
            Client::Krafka => "krafka",
            Client::Java => "java",
        }
    }
}

/// Installs what the client needs, unless it is there; returns what was installed.
pub fn install(client: Client, places: &Places) -> Result<String> {
    match client {
        Client::Kcat => persistently(|| need(places, "kcat", &["kcat"])),
        Client::ConfluentKafka | Client::KafkaPython | Client::Aiokafka => install_python(places),
        Client::Kafkajs => install_node(places),
        Client::Rskafka | Client::Krafka => build_rust(places),
        Client::Java => install_java(places),
    }
}

/// The command that runs the client's program against the broker at `address`.
pub fn command(client: Client, places: &Places, address: &str, topic: &str) -> Result<Command> {
    let sources = places.sources();
    let mut command = match client {
        Client::Kcat => {
            let mut command = Command::new("sh");
            command.arg(sources.join("shell/kcat.sh"));
            command
        }
        Client::ConfluentKafka => python(places, "confluent_client.py"),
        Client::KafkaPython => python(places, "kafka_python_client.py"),
        Client::Aiokafka => python(places, "aiokafka_client.py"),
        Client::Kafkajs => node(places, "kafkajs_client.js"),
        Client::Rskafka | Client::Krafka => {
            let mut command = Command::new(places.work.join("rust/debug/highwater-interop"));
            command.arg(client.name());
            command
        }
        Client::Java => java(places, "JavaClient"),
    };
    command.arg(address).arg(topic);
    if client == Client::Kcat {
        command.arg(places.fresh("kcat")?);
    }
    Ok(command)
}

/// One of the Java programs, on the client.
pub fn java(places: &Places, class: &str) -> Command {
    let java = places.work.join("java");
    let mut command = Command::new("java");
    command
        .args(JAVA_OPTIONS)
        .arg("-cp")
        .arg(format!("{0}/lib/*:{0}/classes", java.display()))
        .arg(class);
    command
}

/// One of the programs for Node.js.
pub fn node(places: &Places, program: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(places.sources().join("node").join(program))
        .env("NODE_PATH", places.work.join("node/node_modules"));
    command
}

/// One of the Python programs, in the environment with the clients.
pub fn python(places: &Places, program: &str) -> Command {
    let mut command = Command::new(places.work.join("python/bin/python"));
    command
        .arg(places.sources().join("python").join(program))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    command
}

fn install_python(places: &Places) -> Result<String> {
    let home = places.work.join("python");
    let wanted = places.sources().join("python/requirements.txt");
    unless_installed(&home, &text_of(&wanted)?, || {
        need(places, "python3", &["python3", "python3-venv"])?;
        let venv = || run(places, "pip", command_line("python3", &["-m", "venv"]).arg(&home));
        // Debian keeps the module that makes environments in a package of its own.
        if venv().is_err() {
            apt_install(places, &["python3-venv"])?;
            venv()?;
        }
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(places, "pip", pip.arg("--requirement").arg(&wanted))
    })
}

fn install_node(places: &Places) -> Result<String> {
    let home = places.work.join("node");
    let wanted = places.sources().join("node/package.json");
    unless_installed(&home, &text_of(&wanted)?, || {
        need(places, "npm", &["nodejs", "npm"])?;
        std::fs::create_dir_all(&home)?;
        std::fs::copy(&wanted, home.join("package.json"))?;
        let mut npm =
            command_line("npm", &["install", "--no-package-lock", "--no-audit", "--no-fund"]);
        run(places, "npm", npm.current_dir(&home))
    })
}

/// The libraries come from Maven; the program is compiled each time, which takes a second.
fn install_java(places: &Places) -> Result<String> {
    let home = places.work.join("java");
    let wanted = places.sources().join("java/pom.xml");
    let note = unless_installed(&home, &text_of(&wanted)?, || {
        need(places, "mvn", &["maven", "openjdk-17-jdk-headless"])?;
        let mut maven = command_line("mvn", &["--batch-mode", "--quiet", "--file"]);
        let output = format!("-DoutputDirectory={}", home.join("lib").display());
        run(places, "maven", maven.arg(&wanted).arg("dependency:copy-dependencies").arg(output))
    })?;
    need(places, "javac", &["openjdk-17-jdk-headless"])?;
    std::fs::create_dir_all(home.join("classes"))?;
    let mut javac = command_line("javac", &["-nowarn", "-cp"]);
    javac.arg(format!("{}/lib/*", home.display())).arg("-d").arg(home.join("classes"));
    for program in ["java/JavaClient.java", "java/ClusterClient.java", "java/GroupsClient.java"] {
        javac.arg(places.sources().join(program));
    }
    run(places, "javac", &mut javac)?;
    Ok(note)
}

/// Cargo itself knows what is up to date. The flags of the broker's build are not for it.
fn build_rust(places: &Places) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(places.sources().join("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(places.work.join("rust"))
        .env_remove("RUSTFLAGS");
    run(places, "cargo", &mut cargo)?;
    Ok(String::new())
}

fn text_of(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs `installation` unless `home` was installed for exactly what `wanted` says.
pub(crate) fn unless_installed(
    home: &Path,
    wanted: &str,
    installation: impl Fn() -> Result<()>,
) -> Result<String> {
    let stamp = home.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok("kept".into());
    }
    persistently(installation)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok("installed".into())
}

/// Tries an installation again after each of the pauses.
fn persistently<T>(installation: impl Fn() -> Result<T>) -> Result<T> {
    for pause in PAUSES {
        match installation() {
            Ok(done) => return Ok(done),
            Err(error) => println!("to be tried again in {} s: {error:#}", pause.as_secs()),
        }
        std::thread::sleep(pause);
    }
    installation()
}

/// Makes sure that `program` can be run, by Debian's packages when it is not there.
pub(crate) fn need(places: &Places, program: &str, packages: &[&str]) -> Result<String> {
    if on_path(program).is_some() {
        return Ok("kept".into());
    }
    apt_install(places, packages)
        .with_context(|| format!("{program} is missing and could not be installed"))?;
    ensure!(on_path(program).is_some(), "no {program} even after installing {packages:?}");
    Ok("installed".into())
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

pub(crate) fn apt_install(places: &Places, packages: &[&str]) -> Result<()> {
    static UPDATED: AtomicBool = AtomicBool::new(false);
    ensure!(on_path("apt-get").is_some(), "install {packages:?} by hand: there is no apt-get");
    if !UPDATED.load(Ordering::Relaxed) {
        // A stale list may still do; the installation tells.
        let updated = run(places, "apt", &mut command_line("apt-get", &["update", "--quiet"]));
        UPDATED.store(updated.is_ok(), Ordering::Relaxed);
    }
    let mut install = command_line("apt-get", &["install", "--yes", "--no-install-recommends"]);
    // Another installation on the machine may hold the lock for a moment.
    install.args(["-o", "DPkg::Lock::Timeout=120"]).env("DEBIAN_FRONTEND", "noninteractive");
    run(places, "apt", install.args(packages))
}

pub(crate) fn command_line(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs an installation command with its output in the log `install-NAME`.
pub(crate) fn run(places: &Places, name: &str, command: &mut Command) -> Result<()> {
    let path = places.log(&format!("install-{name}"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    bail!("{program} ended with {status}: {last} (all in {})", path.display())
}
