// SPDX-License-Identifier: Apache-2.0
//! The command line: one file a command, and the exit codes.

mod apply;
mod check;
mod config;
mod explain;
mod explain_code;
mod explain_rke2;
mod gate;
mod mounts;
mod overrides;
mod run;
mod status;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::controls::rke2_config::judge::overrides::REASON_LIMIT;
use crate::engine::Engine;
use crate::model::{Finding, Report, Role, State};
use crate::system::HostError;
use crate::system::root::Root;

/// Makes a Linux host fit for a CIS-hardened RKE2, and keeps it so.
#[derive(Debug, Parser)]
#[command(name = "nodeguard", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 as it should be, 1 the program failed, 2 drift or something \
                        that wants attention, 64 usage, 75 the gate could not look in time, 77 permission, \
                        78 fatal misconfiguration."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Guard this node (what nodeguard.service runs)
    Run,
    /// Look at the node and change nothing
    Check(PassArgs),
    /// Look at the node once and mend what is wrong
    Apply(ApplyArgs),
    /// Let RKE2 start only on a node that is fit for it (its unit's ExecStartPre)
    Gate(GateArgs),
    /// Let RKE2 start once although the node is fatal, within the next ten minutes
    Override(OverrideArgs),
    /// Say what the guarding service knows
    Status(StatusArgs),
    /// Print nodeguard's own configuration, each value with the file and line that set it
    Config(ConfigArgs),
    /// Say who sets a kernel parameter, now and at the next boot, what RKE2 reads, or what a finding's
    /// code means
    Explain(ExplainArgs),
    /// Print the mounts that a unit is to start after, as a drop-in for it (for systemd's generator)
    Mounts(MountsArgs),
}

#[derive(Debug, Args)]
struct PassArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Work on an unpacked image below DIR; live kernel values are left out
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    root: Option<PathBuf>,
    /// What RKE2 runs as; by default what its enabled unit says
    #[arg(long, value_enum)]
    role: Option<RoleArg>,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    pass: PassArgs,
    /// When it is ended from outside: for the gate, which starts it
    #[arg(long, value_name = "MILLISECONDS", hide = true)]
    within: Option<u64>,
    /// Look only: for the gate in report mode, which may know that mode when the files do not say it
    #[arg(long, hide = true)]
    change_nothing: bool,
}

#[derive(Debug, Args)]
struct GateArgs {
    /// What RKE2 is about to run as
    #[arg(long, value_enum)]
    role: RoleArg,
    /// How long all of it may take, whatever hangs
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_hint = ValueHint::Other)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    limit: u64,
}

#[derive(Debug, Args)]
struct OverrideArgs {
    /// What RKE2 is to start as
    #[arg(long, value_enum)]
    role: RoleArg,
    /// Why, for the journal and for whoever comes after you; at most 200 characters
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    #[arg(value_parser = reason, required_unless_present = "withdraw")]
    reason: Option<String>,
    /// Take back an override that was not used yet
    #[arg(long, conflicts_with = "reason")]
    withdraw: bool,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a line of text".into());
    }
    if text.chars().count() > REASON_LIMIT {
        return Err(format!("expected at most {REASON_LIMIT} characters"));
    }
    Ok(text.to_owned())
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Read the files of an unpacked image below DIR
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    pass: PassArgs,
    /// Kernel parameters, such as vm.overcommit_memory or net/ipv4/conf/eth0.100/rp_filter; by
    /// default those that are held on this node. Or the word rke2, alone: RKE2's configuration as
    /// RKE2 resolves it, each value with what set it. Or codes of findings, such as etcd-owner: what
    /// they mean and what to do
    #[arg(value_name = "KEY", value_hint = ValueHint::Other)]
    keys: Vec<String>,
}

#[derive(Debug, Args)]
struct MountsArgs {
    /// The unit
    #[arg(value_enum)]
    unit: OrderedUnit,
    /// Read the files of an unpacked image below DIR
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// A unit that starts after what RKE2's data is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderedUnit {
    Rke2Server,
    Rke2Agent,
    Nodeguard,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    Server,
    Agent,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Server => Self::Server,
            RoleArg::Agent => Self::Agent,
        }
    }
}

/// How the program ends. After sysexits(3) where it has a word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The node is as it should be.
    Ok = 0,
    /// The program failed.
    Failure = 1,
    /// Drift, or something else that wants attention.
    Drift = 2,
    Usage = 64,
    /// The gate could not look in time: to be tried again.
    TryAgain = 75,
    Permission = 77,
    /// Fatal misconfiguration.
    Fatal = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    fn of(state: State) -> Self {
        match state {
            State::Ready => Self::Ok,
            State::Starting | State::Degraded => Self::Drift,
            State::Fatal => Self::Fatal,
        }
    }
}

/// What keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("`nodeguard {command}` needs root: run it with sudo")]
    NotRoot { command: &'static str },
    #[error(transparent)]
    Key(#[from] crate::sysctl_d::BadKey),
    #[error("{key}; {code}")]
    Word { key: crate::sysctl_d::BadKey, code: String },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Bus(#[from] crate::bus::BadBusAddress),
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    #[error("{0}; see `systemctl status systemd-journald`")]
    Unrecorded(#[from] crate::journal::Unrecorded),
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("the report is not readable: {0}")]
    Report(#[from] serde_json::Error),
}

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Nobody to tell where even this cannot be printed.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let result = match cli.command {
        Command::Run => run::run(),
        Command::Check(args) => check::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::Override(args) => overrides::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Mounts(args) => mounts::run(&args),
    };
    result.unwrap_or_else(|e| {
        say(&e.to_string());
        match e {
            CliError::NotRoot { .. } => Exit::Permission,
            CliError::Key(_) | CliError::Word { .. } => Exit::Usage,
            _ => Exit::Failure,
        }
    })
}

fn engine(args: &PassArgs) -> Result<Engine, CliError> {
    Ok(Engine::new(root(args.root.as_deref())?, args.role.map(Role::from)))
}

/// The running host, or the image that `--root` names.
fn root(dir: Option<&Path>) -> Result<Root, CliError> {
    let root = match dir {
        Some(dir) => Root::image(dir)?,
        None => Root::host()?,
    };
    root.check_supported()?;
    Ok(root)
}

fn need_root(command: &'static str) -> Result<(), CliError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(CliError::NotRoot { command }) }
}

/// Prints the report and gives the exit code of its state.
fn print(json: &str, as_json: bool) -> Result<Exit, CliError> {
    let report = crate::render::parse(json)?;
    if as_json {
        // As it came: another version may have written more than this one knows.
        out(&format!("{json}\n"))
    } else {
        out(&crate::render::text(&report))
    }
    Ok(Exit::of(report.state))
}

/// A closed pipe (`nodeguard check | head -1`) is no failure of the program.
fn out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// One line on stderr. What it quotes comes from files and from others.
fn say(text: &str) {
    eprintln!("nodeguard: {}", crate::render::line(text));
}

/// A runtime for one question or one daemon.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)
}

/// The time for a person.
fn now() -> String {
    crate::render::utc(crate::engine::now())
}

/// The fatal findings first, since `systemctl status` shows few lines.
fn worst_first(report: &Report) -> Vec<&Finding> {
    let mut findings: Vec<_> = report.findings().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
