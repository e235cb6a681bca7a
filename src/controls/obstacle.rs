// SPDX-License-Identifier: Apache-2.0
//! What helps where an action failed. The plan's own remedy is no answer there: it is the very
//! command that has just failed, or "nodeguard apply".

use std::path::{Path, PathBuf};

use crate::model::{
    LockState, NumberRange, Obstacle, Origin, ParameterObstacle, ReadOnly, quoted, shown,
};

/// Where operators configure nodeguard itself.
const OWN_CONFIG: &str = "/etc/nodeguard/nodeguard.toml";

/// A remedy for what kept an action from its work. `image`: the directory that the pass worked on,
/// where that is not the running host.
pub fn remedy(obstacle: &Obstacle, image: Option<&Path>) -> String {
    let word = |path: &Path| quoted(&place(path, image));
    match obstacle {
        Obstacle::Changing => {
            "find out which other program changes it at the same time, and stop one of the two"
                .into()
        }
        Obstacle::Contested => {
            "find out which other program manages it, and stop one of the two".into()
        }
        Obstacle::HardlinksUnprotected if image.is_some() => {
            "sysctl -w fs.protected_hardlinks=1 on this machine, then try again: nothing in the \
             image is given away while files of this machine can be linked into it"
                .into()
        }
        Obstacle::HardlinksUnprotected => {
            "mend fs.protected_hardlinks first, which has a finding of its own: nothing is given \
             away while files from elsewhere can be linked in"
                .into()
        }
        Obstacle::ReadOnly { path, what: ReadOnly::FileSystem } => format!(
            "mount -o remount,rw $(findmnt -no TARGET -T {})\nif it turned read-only by itself, \
             its disk has errors: journalctl -k; a system whose files come from an image is \
             changed in the image: nodeguard apply --root",
            word(path)
        ),
        Obstacle::ReadOnly { path, what: ReadOnly::Mount } => format!(
            "mount -o remount,bind,rw $(findmnt -no TARGET -T {})\nit is the mount that is \
             read-only, and not the file system on it",
            word(path)
        ),
        Obstacle::ReadOnly { path, what: ReadOnly::Service } => format!(
            "systemctl edit nodeguard.service: ReadWritePaths={} below [Service], then systemctl \
             restart nodeguard.service: it is read-only for the service alone",
            word(path)
        ),
        Obstacle::Immutable { path } => format!("chattr -i {}", word(path)),
        Obstacle::AppendOnly { path } => format!("chattr -a {}", word(path)),
        Obstacle::NoSpace { path } => {
            let word = word(path);
            format!("make room on the file system of {word}: df -h {word}; df -i {word}")
        }
        Obstacle::OverQuota { path } => format!(
            "make room within the quota on the file system of {}, or raise it: repquota -a shows \
             whose it is",
            word(path)
        ),
        Obstacle::NotPermitted { path } => format!(
            "see what the file system of {} lets root do: findmnt -T {}; vfat and NFS with \
             root_squash have no owners to give",
            word(path),
            word(path)
        ),
        Obstacle::Denied { path } => format!(
            "see what refuses root {}: ausearch -m AVC -ts recent, or journalctl -k -g denied",
            word(path)
        ),
        Obstacle::NotRegular { path } => {
            format!("make {} a regular file, or take it away", word(path))
        }
        Obstacle::Gone { path } => format!("find out what took {} away", word(path)),
        Obstacle::Broken { path } => {
            format!("look after the disk of {}: journalctl -k", word(path))
        }
        Obstacle::NoFreeNumber { ranges } => no_free_number(ranges, image),
        Obstacle::EmptyRange { range } => format!(
            "{}: {} is {}, and {} must not be less",
            edit(range.origin.as_ref(), image),
            range.least_key,
            range.least,
            range.greatest_key
        ),
        Obstacle::Lock { path, state } => lock(&word(path), state, image.is_some()),
        Obstacle::NoTool { name } => format!(
            "install the package that has {name}{}: passwd on Debian, shadow on SUSE, \
             shadow-utils on Red Hat",
            if image.is_some() { " on this machine" } else { "" }
        ),
        Obstacle::UntrustedTool { path } => format!(
            "find out who changed it (ls -l {0}), then install the package that has {0} again",
            quoted(path)
        ),
        Obstacle::ToolHangs { name } => format!(
            "find out what {name} waits for: a directory server of /etc/nsswitch.conf, PAM, or the \
             disk of {}",
            word(Path::new("/etc"))
        ),
        Obstacle::ToolIdle { name } => format!(
            "find out what {name} is on this machine, since it ended well and wrote nothing: ls -l \
             /usr/sbin/{name}"
        ),
        Obstacle::ToolFailed { name } => {
            format!("end what {name} names in the message: journalctl -t {name} may tell more")
        }
        Obstacle::BrokenLine { file, line } => {
            format!("{}: correct line {line} or take it away", editor(file, image))
        }
        Obstacle::Twice { file } => format!("{}: leave one line of etcd", editor(file, image)),
        Obstacle::NameTaken { name } => format!(
            "find out what knows {name} besides the files: getent passwd {name}; getent group \
             {name}"
        ),
        Obstacle::Parameter { key, value, why } => parameter(key, value, why),
        Obstacle::Unclear => "end the cause that the message names".into(),
    }
}

/// The file that an obstacle is about, for findings that name none.
pub fn origin(obstacle: &Obstacle) -> Option<Origin> {
    match obstacle {
        Obstacle::ReadOnly { path, .. }
        | Obstacle::Immutable { path }
        | Obstacle::AppendOnly { path }
        | Obstacle::NoSpace { path }
        | Obstacle::OverQuota { path }
        | Obstacle::NotPermitted { path }
        | Obstacle::Denied { path }
        | Obstacle::NotRegular { path }
        | Obstacle::Gone { path }
        | Obstacle::Broken { path }
        | Obstacle::UntrustedTool { path }
        | Obstacle::Lock { path, .. } => Some(Origin::file(shown(path))),
        Obstacle::BrokenLine { file, line } => Some(Origin::at(file, *line)),
        Obstacle::Twice { file } => Some(Origin::file(*file)),
        Obstacle::NoFreeNumber { ranges } => ranges.iter().find_map(|range| range.origin.clone()),
        Obstacle::EmptyRange { range } => range.origin.clone(),
        Obstacle::Changing
        | Obstacle::Contested
        | Obstacle::HardlinksUnprotected
        | Obstacle::NoTool { .. }
        | Obstacle::ToolHangs { .. }
        | Obstacle::ToolIdle { .. }
        | Obstacle::ToolFailed { .. }
        | Obstacle::NameTaken { .. }
        | Obstacle::Parameter { .. }
        | Obstacle::Unclear => None,
    }
}

/// What the tools' own words leave out, for the message.
pub fn detail(obstacle: &Obstacle) -> Option<String> {
    match obstacle {
        Obstacle::NoFreeNumber { ranges } => {
            let used = |range: &NumberRange| {
                format!("every {} from {} to {} is used", range.word, range.least, range.greatest)
            };
            Some(ranges.iter().map(used).collect::<Vec<_>>().join(", "))
        }
        Obstacle::Immutable { path } => Some(format!("{} is immutable", shown(path))),
        Obstacle::AppendOnly { path } => Some(format!("{} may only grow", shown(path))),
        _ => None,
    }
}

/// A remedy that was written for the running host, for an image: nobody is to run it on the machine
/// that the image is made on.
pub fn in_image(remedy: &str, image: &Path) -> String {
    let place = quoted(image);
    remedy.lines().map(|line| format!("in {place}: {line}")).collect::<Vec<_>>().join("\n")
}

/// What mends the drift that a look at an image found.
pub fn mends_image(image: &Path) -> String {
    format!("nodeguard apply --root {} mends it", quoted(image))
}

fn place(path: &Path, image: Option<&Path>) -> PathBuf {
    match image {
        Some(image) => image.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_path_buf(),
    }
}

/// `edit FILE line N`; without an origin a file that is to be made.
fn edit(origin: Option<&Origin>, image: Option<&Path>) -> String {
    let file = origin.map_or("/etc/login.defs", |origin| origin.file.as_str());
    let file = quoted(&place(Path::new(file), image));
    match origin.and_then(|origin| origin.line) {
        Some(line) => format!("edit {file} line {line}"),
        None => format!("edit {file}"),
    }
}

/// Those that know the locks; of an image they do not know.
fn editor(file: &str, image: Option<&Path>) -> String {
    match (image, file) {
        (Some(_), _) => format!("edit {}", quoted(&place(Path::new(file), image))),
        (None, "/etc/passwd") => "vipw".into(),
        (None, _) => "vigr".into(),
    }
}

/// Numbers of the operator's own first: a greater range may reach into that of people.
fn no_free_number(ranges: &[NumberRange], image: Option<&Path>) -> String {
    let chosen = |range: &NumberRange| match range.free {
        Some(free) => format!("{} = {free}", range.word),
        None => format!("{} = a free number", range.word),
    };
    let numbers: Vec<String> = ranges.iter().map(chosen).collect();
    let own = quoted(&place(Path::new(OWN_CONFIG), image));
    let mut out = format!("edit {own}: [etcd-account] with {}", numbers.join(" and "));
    for NumberRange { greatest_key, greatest, origin, .. } in ranges {
        out += &format!("\nor {}: {greatest_key} above {greatest}", edit(origin.as_ref(), image));
    }
    out
}

fn lock(path: &str, state: &LockState, image: bool) -> String {
    match state {
        LockState::Held { pid, name } if image => format!(
            "wait for process {pid} ({name}), or rm {path} if that is none that changes the \
             image's accounts"
        ),
        LockState::Held { pid, name } => format!(
            "wait for process {pid} ({name}) to end, or find out what it waits for: ps -fp {pid}"
        ),
        LockState::Stale => format!("rm {path}: the process that made it is dead"),
        LockState::Nameless => {
            format!("rm {path}, if nobody changes accounts now: it names no process")
        }
        LockState::NotRegular => format!(
            "take {path} away, if nobody changes accounts now: it is no regular file (ls -ld \
             {path})"
        ),
    }
}

fn parameter(key: &str, value: &str, why: &ParameterObstacle) -> String {
    match why {
        ParameterObstacle::Value => format!(
            "write a value for {key} that this kernel takes; nodeguard explain {key} tells which \
             files set it"
        ),
        ParameterObstacle::Shown(shown) => format!(
            "write {shown} where {value} is written for {key}; nodeguard explain {key} tells \
             which files set it"
        ),
        ParameterObstacle::ReadOnly => {
            format!("set {key} to {value} on the host that this container runs on")
        }
        ParameterObstacle::NotPermitted { service: true } => format!(
            "sysctl -w {key}={value} as root, who has rights that the service has not; if that is \
             refused as well, reboot: it can be set once in a boot, or not under a lockdown"
        ),
        ParameterObstacle::NotPermitted { service: false } => format!(
            "reboot, so that {key} is set before it is locked; journalctl -k -g lockdown tells of \
             a kernel that lets nobody set it"
        ),
        ParameterObstacle::Closed => {
            format!(
                "set {key} on the host, if this is a container, or run a kernel that lets it be set"
            )
        }
        ParameterObstacle::Missing => format!("run a kernel that has {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(word: &'static str, origin: Option<Origin>) -> NumberRange {
        NumberRange {
            word,
            least_key: "SYS_UID_MIN",
            greatest_key: "SYS_UID_MAX",
            least: 100,
            greatest: 999,
            origin,
            free: Some(60578),
        }
    }

    /// One of each.
    fn all() -> Vec<Obstacle> {
        let path = || PathBuf::from("/etc/passwd");
        let key = || "kernel.panic".to_owned();
        let parameter = |why| Obstacle::Parameter { key: key(), value: "10".into(), why };
        let lock = |state| Obstacle::Lock { path: "/etc/passwd.lock".into(), state };
        let read_only = |what| Obstacle::ReadOnly { path: path(), what };
        let origin = Some(Origin::at("/etc/login.defs", 12));
        vec![
            Obstacle::Changing,
            Obstacle::Contested,
            Obstacle::HardlinksUnprotected,
            read_only(ReadOnly::FileSystem),
            read_only(ReadOnly::Mount),
            read_only(ReadOnly::Service),
            Obstacle::Immutable { path: path() },
            Obstacle::AppendOnly { path: path() },
            Obstacle::NoSpace { path: path() },
            Obstacle::OverQuota { path: path() },
            Obstacle::NotPermitted { path: path() },
            Obstacle::Denied { path: path() },
            Obstacle::NotRegular { path: path() },
            Obstacle::Gone { path: path() },
            Obstacle::Broken { path: path() },
            Obstacle::NoFreeNumber { ranges: vec![range("uid", None), range("gid", None)] },
            Obstacle::EmptyRange { range: range("uid", origin) },
            lock(LockState::Held { pid: 17, name: "useradd".into() }),
            lock(LockState::Stale),
            lock(LockState::Nameless),
            lock(LockState::NotRegular),
            Obstacle::NoTool { name: "useradd".into() },
            Obstacle::UntrustedTool { path: "/usr/sbin/useradd".into() },
            Obstacle::ToolHangs { name: "useradd".into() },
            Obstacle::ToolIdle { name: "useradd".into() },
            Obstacle::ToolFailed { name: "useradd".into() },
            Obstacle::BrokenLine { file: "/etc/passwd".into(), line: 3 },
            Obstacle::Twice { file: "/etc/passwd" },
            Obstacle::NameTaken { name: "etcd".into() },
            parameter(ParameterObstacle::Value),
            parameter(ParameterObstacle::Shown("16".into())),
            parameter(ParameterObstacle::ReadOnly),
            parameter(ParameterObstacle::NotPermitted { service: true }),
            parameter(ParameterObstacle::NotPermitted { service: false }),
            parameter(ParameterObstacle::Closed),
            parameter(ParameterObstacle::Missing),
            Obstacle::Unclear,
        ]
    }

    /// What a pass does itself, and has just failed to do.
    const FAILED: [&str; 6] = [
        "nodeguard apply mends",
        "nodeguard apply writes",
        "useradd -",
        "groupadd -",
        "usermod -",
        "chown ",
    ];

    #[test]
    fn each_obstacle_has_a_remedy_of_its_own_and_none_is_what_has_failed() {
        let mut said = std::collections::BTreeSet::new();
        for obstacle in all() {
            for image in [None, Some(Path::new("/srv/image"))] {
                let remedy = remedy(&obstacle, image);
                for failed in FAILED {
                    assert!(!remedy.contains(failed), "{obstacle:?}: {remedy}");
                }
                assert!(image.is_some() || said.insert(remedy.clone()), "twice: {remedy}");
            }
        }
    }

    #[test]
    fn of_an_image_the_files_in_it_are_named_and_not_the_builders() {
        let image = Path::new("/srv/image");
        for obstacle in all() {
            let Some(origin) = origin(&obstacle) else { continue };
            if matches!(obstacle, Obstacle::UntrustedTool { .. }) {
                // The tools are the builder's.
                continue;
            }
            let remedy = remedy(&obstacle, Some(image));
            let inside = format!("/srv/image{}", origin.file);
            assert!(remedy.contains(&inside), "{obstacle:?}: {remedy}");
            assert!(!remedy.replace("/srv/image/", "").contains("/etc/passwd"), "{remedy}");
        }
    }

    #[test]
    fn a_used_up_range_is_told_with_both_ways_out() {
        let origin = |line| Some(Origin::at("/etc/login.defs", line));
        let ranges = vec![
            range("uid", origin(12)),
            NumberRange { greatest_key: "SYS_GID_MAX", ..range("gid", origin(20)) },
        ];
        assert_eq!(
            remedy(&Obstacle::NoFreeNumber { ranges }, None),
            "edit /etc/nodeguard/nodeguard.toml: [etcd-account] with uid = 60578 and gid = 60578\n\
             or edit /etc/login.defs line 12: SYS_UID_MAX above 999\n\
             or edit /etc/login.defs line 20: SYS_GID_MAX above 999"
        );
    }

    #[test]
    fn a_remedy_for_the_host_is_not_pasted_on_the_machine_that_makes_an_image() {
        assert_eq!(
            in_image("systemctl enable rke2-server\nor nothing", Path::new("/srv/a b")),
            "in '/srv/a b': systemctl enable rke2-server\nin '/srv/a b': or nothing"
        );
    }
}
