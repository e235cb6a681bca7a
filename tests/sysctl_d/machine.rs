// SPDX-License-Identifier: Apache-2.0
//! A root with the real programs in it and a pretended kernel.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nodeguard::sysctl_d::Loader;

use crate::layout::{CREDENTIAL, KEYS};

/// One program of one suite.
pub struct Program {
    suite: String,
    pub loader: Loader,
    version: String,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.suite, self.version)
    }
}

impl Program {
    fn name(&self) -> &'static str {
        match self.loader {
            Loader::Systemd => "systemd-sysctl",
            Loader::Procps | Loader::NewerProcps => "sysctl",
        }
    }
}

/// The root, taken away with the value.
pub struct Machine {
    root: tempfile::TempDir,
    programs: Vec<Program>,
}

impl Machine {
    pub fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sysctl_d/programs");
        let output = Command::new(&script).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let machine = Self { root: tempfile::tempdir().unwrap(), programs: Vec::new() };
        machine.furnish(&text(&output.stdout))
    }

    fn furnish(mut self, directories: &str) -> Self {
        for from in directories.lines().map(PathBuf::from) {
            let suite = fs::read_to_string(from.join("suite")).unwrap().trim().to_owned();
            let to = self.root().join("programs").join(&suite);
            fs::create_dir_all(to.join("lib")).unwrap();
            for directory in [from.clone(), from.join("lib")] {
                for entry in fs::read_dir(&directory).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_file() {
                        let below = entry.path().strip_prefix(&from).unwrap().to_owned();
                        fs::copy(entry.path(), to.join(below)).unwrap();
                    }
                }
            }
            for loader in [Loader::Systemd, Loader::Procps] {
                let mut program = Program { suite: suite.clone(), loader, version: String::new() };
                let version = to.join(format!("{}.version", program.name()));
                let version = fs::read_to_string(version).unwrap();
                program.version = version.lines().next().unwrap_or_default().to_owned();
                if ["4.0.2", "4.0.4"].iter().any(|old| version.ends_with(&format!("{old}\n"))) {
                    assert_eq!(loader, Loader::Procps);
                } else if loader == Loader::Procps {
                    program.loader = Loader::NewerProcps;
                }
                self.programs.push(program);
            }
        }
        assert_eq!(self.programs.len(), 6, "three suites");
        fs::create_dir(self.root().join("dev")).unwrap();
        let null = self.root().join("dev/null");
        let made = Command::new("mknod").arg(&null).args(["c", "1", "3"]).status().unwrap();
        assert!(made.success(), "mknod {}", null.display());
        self
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Runs a program on the layout that is installed: the value that each key has after it,
    /// empty where none was written.
    pub fn run(&self, program: &Program, credential: bool) -> Vec<String> {
        let kernel = self.root().join("proc/sys");
        let _ = fs::remove_dir_all(&kernel);
        for key in KEYS {
            let path = kernel.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        self.assert_no_real_kernel();
        let arguments: &[&str] = match program.loader {
            Loader::Systemd => &[],
            Loader::Procps | Loader::NewerProcps => &["--system"],
        };
        let output = self.in_root(program, arguments, credential);
        // Either ends with a failure when a line or a file was bad; what it wrote counts.
        assert!(output.status.code().is_some(), "{program}: {output:?}");
        let value = |key: &&str| {
            let bytes = fs::read(kernel.join(key)).unwrap();
            // systemd writes into the kernel's files without emptying them first.
            text(bytes.split(|b| *b == b'\n').next().unwrap_or_default())
        };
        KEYS.iter().map(value).collect()
    }

    /// The files that systemd-sysctl reads, in its order, where it lists them all.
    pub fn order(&self, program: &Program) -> Option<Vec<String>> {
        if program.loader != Loader::Systemd {
            return None;
        }
        let output = self.in_root(program, &["--cat-config", "--no-pager"], false);
        // A file that cannot be read ends the list.
        output.status.success().then(|| {
            text(&output.stdout)
                .lines()
                .filter_map(|line| line.strip_prefix("# /"))
                .map(|path| format!("/{}", path.trim_end_matches(" is a mask.")))
                .collect()
        })
    }

    fn in_root(&self, program: &Program, arguments: &[&str], credential: bool) -> Output {
        let home = format!("/programs/{}", program.suite);
        let mut command = Command::new("chroot");
        command
            .arg(self.root())
            .arg(format!("{home}/ld.so"))
            .args(["--library-path", &format!("{home}/lib")])
            .arg(format!("{home}/{}", program.name()))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if credential {
            let directory = Path::new("/").join(CREDENTIAL);
            command.env("CREDENTIALS_DIRECTORY", directory.parent().unwrap());
        }
        command.output().unwrap()
    }

    /// A program that saw the machine's own /proc would change the machine.
    fn assert_no_real_kernel(&self) {
        let root = fs::canonicalize(self.root()).unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let inside = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .any(|point| Path::new(point).starts_with(&root));
        assert!(!inside, "nothing may be mounted below {}", root.display());
        for path in ["proc", "proc/sys"] {
            let kind = fs::symlink_metadata(root.join(path)).unwrap().file_type();
            assert!(kind.is_dir(), "{path} is a plain directory");
        }
        let stat = rustix::fs::statfs(root.join("proc/sys")).unwrap();
        /// PROC_SUPER_MAGIC of linux/magic.h.
        const PROC: u64 = 0x9fa0;
        assert_ne!(stat.f_type as u64, PROC, "/proc/sys of the root is the machine's own");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
