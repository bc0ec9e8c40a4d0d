//! What is around a process and must not matter to a run.

use std::path::Path;
use std::process::Command;

/// Two different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// What the caller has, with a fixed time zone, language and home, in the repository.
    Usual,
    /// Nothing of what the caller has, another time zone, language and home, more memory before the
    /// stack, in the root of the file system.
    Foreign,
}

impl Surroundings {
    /// Puts a process into them that would run in `repository`.
    pub fn surround(self, command: &mut Command, repository: &Path) {
        match self {
            Self::Usual => {
                command.current_dir(repository);
                command.envs([("HOME", "/"), ("TZ", "UTC"), ("LANG", "C"), ("LC_ALL", "C")]);
            }
            Self::Foreign => {
                command.current_dir("/").env_clear();
                if let Some(path) = std::env::var_os("PATH") {
                    command.env("PATH", path);
                }
                command.envs([
                    ("HOME", "/nonexistent"),
                    ("TZ", "Pacific/Chatham"),
                    ("LANG", "tr_TR.UTF-8"),
                    ("LC_ALL", "tr_TR.UTF-8"),
                    ("TMPDIR", "/nonexistent"),
                    ("RUST_BACKTRACE", "full"),
                ]);
                // The environment lies above the stack, so this moves every address on it.
                command.env("HIGHWATER_PADDING", "x".repeat(5_000));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(surroundings: Surroundings) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo "$TZ $LANG $HOME $PWD ${#HIGHWATER_PADDING} $CARGO""#]);
        surroundings.surround(&mut command, Path::new("/usr"));
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn the_two_have_nothing_in_common() {
        assert!(shown(Surroundings::Usual).starts_with("UTC C / /usr 0"));
        let foreign = "Pacific/Chatham tr_TR.UTF-8 /nonexistent / 5000";
        assert_eq!(shown(Surroundings::Foreign), foreign);
    }
}
