// SPDX-License-Identifier: Apache-2.0
//! The codes of the control `rke2-config`.

use super::FatalClass::{LosesData, Refuses, Unhardened};
use super::Severity::{Fatal, Note, Warning};
use super::{About, ControlId, Rule, WhenFatal};

const RKE2_CONFIG: About = About::of(&[ControlId::Rke2Config]);

const EMPTY_ETCD: Rule = Rule {
    class: LosesData,
    rule: "RKE2 makes its directories where they are missing, and takes an etcd without data for a new \
           one: it starts with what it finds, and the data on the mount is hidden from it.",
    versions: "all",
    source: "k3s pkg/etcd/etcd.go; rke2 pkg/executor/staticpod/staticpod.go",
};

pub(super) const CONFIG_INVALID: About = About {
    name: "config-invalid",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[
        Rule {
            class: Refuses,
            rule: "A configuration file that cannot be read or is no YAML ends RKE2, and so \
                   does a value that its command line parser does not take.",
            versions: "all",
            source: "k3s pkg/configfilearg/parser.go; urfave/cli flags",
        },
        Rule {
            class: Refuses,
            rule: "A command line that, with its environment, is longer than the kernel takes \
                   is not executed.",
            versions: "all",
            source: "execve(2), E2BIG",
        },
    ]),
    cause: "A configuration file of RKE2's cannot be read, is no YAML, or has a value that RKE2 \
            does not take; or the command line of its unit, with its variables and environment, is \
            longer than the kernel takes. RKE2 does not start.",
    remedy: "Correct the line that the finding names, or make the file one that root can read.",
    ..RKE2_CONFIG
};

pub(super) const FLAG_CONFLICT: About = About {
    name: "flag-conflict",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2, and then k3s, check what the flags say together, and end where it does not fit.",
        versions: "each rule for the releases that have it",
        source: "rke2 pkg/cli/cmds and pkg/rke2; k3s pkg/cli/server/server.go",
    }]),
    cause: "RKE2 reads every flag, and then refuses a value, or some that do not go together: \
            `cni`, the flags of the cloud provider, of the network, of a reset, of an external \
            database. RKE2 does not start. The rules are those of `pkg/cli/cmds` and `pkg/rke2` of \
            RKE2 and of `pkg/cli/server` of k3s, each for the releases that have it.",
    remedy: "Correct the line that the finding names; it says what goes together.",
    ..RKE2_CONFIG
};

pub(super) const FLAG_UNLISTED: About = About {
    name: "flag-unlisted",
    severities: &[Warning],
    cause: "A flag or a value is in no list that nodeguard has, and each RKE2 that it knows would \
            refuse it. The RKE2 that is installed is newer, or does not say which it is, and may \
            take it.",
    remedy: "See that this RKE2 knows the flag or the value (`rke2 server --help`), and update \
             nodeguard.",
    ..RKE2_CONFIG
};

pub(super) const AGENT_CANNOT_JOIN: About = About {
    name: "agent-cannot-join",
    severities: &[Fatal, Note],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "An agent without a server, or with neither a token nor a certificate, ends.",
        versions: "all",
        source: "k3s pkg/cli/agent/agent.go",
    }]),
    cause: "An agent has no `server`, or neither a token nor a certificate of the cluster. RKE2 does \
            not start: `--server is required`, `--token is required` (`pkg/cli/agent` of k3s, every \
            release). A note in an image, which may get them at its first boot.",
    remedy: "Set `server` to the address of a server and `token` to the token of the cluster, or \
             `token-file` to a file that has it.",
    ..RKE2_CONFIG
};

pub(super) const CONFIG_IGNORED: About = About {
    name: "config-ignored",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Unhardened,
        rule: "RKE2 takes a configuration file that does not exist, also behind a link, \
                   for one that nobody wrote, and starts with its defaults.",
        versions: "all",
        source: "k3s pkg/configfilearg/parser.go, readConfigFile",
    }]),
    cis_ids: &["4.2.6"],
    cause: "RKE2 takes its configuration for absent and starts without any of it.",
    remedy: "Correct the line that the finding names, or remove the link that leads to nothing.",
    ..RKE2_CONFIG
};

pub(super) const CONFIG_UNREAD: About = About {
    name: "config-unread",
    severities: &[Warning],
    cause: "Configuration files, environment files or units are larger or more than nodeguard \
            reads, or expand to more than it keeps. RKE2 may read them.",
    remedy: "Make them smaller or fewer, and until then look at them yourself.",
    ..RKE2_CONFIG
};

pub(super) const ENVIRONMENT_UNREAD: About = About {
    name: "environment-unread",
    severities: &[Warning],
    cause: "Variables that systemd itself gives RKE2 could not be read: systemd does not answer, \
            or the unit has `PassEnvironment=` and systemd's own environment cannot be read, as by \
            the daemon in its sandbox. The gate does not go by such a report; where its own look \
            has the same, it ends with 75.",
    remedy: "See that `systemctl show-environment` answers, or set the variables in a file that \
             the unit names with `EnvironmentFile=`.",
    ..RKE2_CONFIG
};

pub(super) const CONFIG_REMOTE: About = About {
    name: "config-remote",
    severities: &[Warning],
    cause: "RKE2's configuration is at an address; nodeguard fetches nothing.",
    remedy: "Write the settings to `/etc/rancher/rke2/config.yaml`, and name no address.",
    ..RKE2_CONFIG
};

pub(super) const CONFIG_KEY_IGNORED: About = About {
    name: "config-key-ignored",
    severities: &[Note, Warning],
    cause: "A key that RKE2 does not know; a warning where it looks like a known one.",
    remedy: "Write the key that is meant, or remove it if this RKE2 does not know it.",
    ..RKE2_CONFIG
};

pub(super) const CONFIG_NOT_READ: About = About {
    name: "config-not-read",
    severities: &[Warning],
    cause: "A file looks as if it were meant to be RKE2's configuration, and RKE2 does not read it, by \
            its name: `config.yml`, a drop-in that ends in `.yalm`, a directory `config.d`. A copy \
            (`config.yaml.bak`) is told only where it sets a profile and nothing that RKE2 reads \
            does.",
    remedy: "Give the file the name that the finding has, or remove it.",
    ..RKE2_CONFIG
};

pub(super) const ENVIRONMENT_FILE_MISSING: About = About {
    name: "environment-file-missing",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "systemd starts no unit whose EnvironmentFile= is not there, unless its \
                   path begins with a dash.",
        versions: "all",
        source: "systemd.exec(5), EnvironmentFile=",
    }]),
    cause: "The unit of RKE2 asks for an environment file that is not there. RKE2 does not start.",
    remedy: "Make the file, or take its line out of the unit.",
    ..RKE2_CONFIG
};

pub(super) const ROLE_BOTH: About = About {
    name: "role-both",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[
        Rule {
            class: Refuses,
            rule: "One of the two units is kept from starting while the other one runs; which \
                   one that is, is chance at boot.",
            versions: "Conflicts= until 1.35, ExecCondition= from 1.36",
            source: "rke2 bundle/lib/systemd/system/rke2-server.service",
        },
        Rule {
            class: LosesData,
            rule: "RKE2 as an agent takes away etcd's static pod of a server.",
            versions: "all",
            source: "rke2 pkg/rke2/rke2_linux.go, disabledItems",
        },
    ]),
    cause: "The units of server and agent are both enabled or active, and each keeps the other \
            from starting.",
    remedy: "Keep the one that this node is: on a server `systemctl disable --now \
             rke2-agent.service`, on an agent `systemctl disable --now rke2-server.service`.",
    ..RKE2_CONFIG
};

pub(super) const ROLE_UNKNOWN: About = About {
    name: "role-unknown",
    severities: &[Note],
    cause: "No unit of RKE2's is enabled; only the kernel parameters are kept.",
    remedy: "Enable what this node is to be: `systemctl enable rke2-server.service`, or \
             `rke2-agent.service`.",
    ..RKE2_CONFIG
};

pub(super) const PROFILE_MISSING: About = About {
    name: "profile-missing",
    severities: &[Note, Warning],
    cis_ids: &["4.2.6"],
    cause: "No profile is set, and RKE2 starts unhardened; a warning on a server.",
    remedy: "Set `profile` in `/etc/rancher/rke2/config.yaml`; the finding lists what this RKE2 \
             knows.",
    ..RKE2_CONFIG
};

pub(super) const PROFILE_IGNORED: About = About {
    name: "profile-ignored",
    severities: &[Fatal, Warning],
    fatal: WhenFatal::By(&[Rule {
        class: Unhardened,
        rule: "RKE2 reads the keys of the first document's top level and skips those that it does not \
               know; without a profile it only warns, and starts.",
        versions: "all",
        source: "k3s pkg/configfilearg/parser.go; rke2 pkg/cli/cmds/profile_linux.go, validateProfile",
    }]),
    cis_ids: &["4.2.6"],
    cause: "A file plainly means a profile, and RKE2 does not take it and starts unhardened: it is \
            below another key or in a list, the first document of the file is empty, or the key \
            has a slip or a character that cannot be seen, which the finding spells `U+200B`; or it \
            is a variable that RKE2 does not know. A warning where it is in a later document of a \
            file whose first one has settings, or below a key that RKE2 does not know and that is \
            none of those that people wrap a configuration in (`rke2`, `server`, `spec`).",
    remedy: "Write `profile` at the beginning of a line in the first document of the file.",
    ..RKE2_CONFIG
};

pub(super) const PROFILE_INVALID: About = About {
    name: "profile-invalid",
    severities: &[Fatal, Warning],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 ends at a profile that is none of its own.",
        versions: "all; which version knows which profile is in nodeguard as a table, read from the tags",
        source: "rke2 pkg/cli/cmds/profile_linux.go, validateProfile; in older ones root.go",
    }]),
    cis_ids: &["4.2.6"],
    cause: "This RKE2 does not know the profile, and does not start. A warning where RKE2 is newer \
            than the lists here or does not say which it is: it may know the profile.",
    remedy: "Set `profile` to one that the finding lists.",
    ..RKE2_CONFIG
};

pub(super) const PROFILE_DEPRECATED: About = About {
    name: "profile-deprecated",
    severities: &[Note],
    cause: "This RKE2 knows the profile, and advises another one.",
    remedy: "Set `profile` to the one that the finding names.",
    ..RKE2_CONFIG
};

pub(super) const PROTECT_KERNEL_DEFAULTS_CONFLICT: About = About {
    name: "protect-kernel-defaults-conflict",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "Under a CIS profile RKE2 ends where protect-kernel-defaults is set to \
                   false.",
        versions: "all",
        source: "rke2 pkg/cli/cmds/profile_linux.go, setCISFlags; in older ones root.go",
    }]),
    cis_ids: &["4.2.6"],
    cause: "`protect-kernel-defaults` is false, which a CIS profile forbids. RKE2 does not start.",
    remedy: "Remove the key: the profile sets it.",
    ..RKE2_CONFIG
};

pub(super) const KUBELET_CONFIG_INVALID: About = About {
    name: "kubelet-config-invalid",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "The kubelet ends at an argument that its parser does not take and at a configuration \
               file that it cannot read or decode.",
        versions: "all; a directory of drop-ins is an unknown flag before 1.28, and asks for a variable \
                   in 1.28 and 1.29",
        source: "kubernetes cmd/kubelet/app/server.go, loadConfigFile and mergeKubeletConfigurations",
    }]),
    cis_ids: &["4.2.6"],
    cause: "The kubelet does not start with what RKE2 hands to it: `kubelet-arg` has a value of \
            `protect-kernel-defaults` that is no truth, or names a file or directory that is not \
            there, or a directory where this kubelet takes none; or a file of kind \
            `KubeletConfiguration` is no YAML, has another kind or apiVersion, or something else \
            than true or false in `protectKernelDefaults`. Where RKE2 is newer than the lists here, \
            another apiVersion is `flag-unlisted`.",
    remedy: "Correct the line that the finding names, or take the file away.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_INVALID: About = About {
    name: "data-dir-invalid",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 makes its data directory, and ends where it has no name.",
        versions: "all",
        source: "k3s pkg/datadir; mkdir(2), ENOENT",
    }]),
    cause: "`data-dir` is empty, and RKE2 does not start.",
    remedy: "Set `data-dir` to an absolute path, or remove the key.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_RELATIVE: About = About {
    name: "data-dir-relative",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 writes the path as it is into the manifests of its static pods; the \
                   container runtime mounts absolute paths only, so that etcd and the API \
                   server do not start.",
        versions: "all",
        source: "rke2 pkg/podtemplate; OCI runtime specification, Mounts",
    }]),
    cause: "`data-dir` is a relative path, which what RKE2 starts in containers does not find; \
            fatal on a server.",
    remedy: "Set `data-dir` to an absolute path.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_READ_ONLY: About = About {
    name: "data-dir-read-only",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 makes directories and files below its data directory at each start, \
                   and ends where it cannot.",
        versions: "all",
        source: "rke2 pkg/bootstrap/bootstrap.go; mkdir(2), EROFS",
    }]),
    cause: "The file system of the data directory is read-only.",
    remedy: "Mount it for writing. If it turned read-only by itself, its disk has errors: see \
             `journalctl -k`.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_FILE_SYSTEM: About = About {
    name: "data-dir-file-system",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2's containerd unpacks images below the data directory, with owners and \
                   links, and its overlayfs needs both; on a file system without them it does \
                   not start.",
        versions: "all",
        source: "k3s pkg/agent/containerd; chown(2) and link(2), EPERM",
    }]),
    cause: "The file system of the data directory has no owners and links (fatal), or it depends \
            on how it is served or mounted whether it has.",
    remedy: "Set `data-dir` to a directory on ext4 or xfs before RKE2's first start.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_NOEXEC: About = About {
    name: "data-dir-noexec",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "RKE2 unpacks containerd, the kubelet and runc below its data directory and starts them; \
               the kernel executes nothing on a mount with noexec.",
        versions: "all",
        source: "rke2 pkg/bootstrap/bootstrap.go; execve(2), EACCES",
    }]),
    cause: "The mount that the directory `data` below the data directory is on has the option \
            `noexec`. RKE2 unpacks containerd, the kubelet and runc there and starts them, which \
            the kernel refuses: RKE2 does not start.",
    remedy: "`mount -o remount,exec` with the mount point, and take `noexec` out of what mounts it; \
             or set `data-dir` to a directory on another file system before RKE2's first start.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_NOT_MOUNTED: About = About {
    name: "data-dir-not-mounted",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[EMPTY_ETCD]),
    cause: "`/etc/fstab` or a unit of systemd's promises a mount on the way to RKE2's data or below \
            it, and it is not there. Fatal where etcd's data is to be on it: RKE2 would start with \
            a new and empty etcd on the file system that is in its place.",
    remedy: "Start the mount's unit, which the finding names; where that fails, `journalctl -u` with \
             the unit says why. If it is to be there no more, take it out of `/etc/fstab` or disable \
             its unit, and run `systemctl daemon-reload`.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_OTHER_MOUNT: About = About {
    name: "data-dir-other-mount",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[EMPTY_ETCD]),
    cause: "Something else is mounted on the way to RKE2's data or below it than `/etc/fstab` or a \
            unit of systemd's promises. Fatal where etcd's data is to be on it: RKE2 would start \
            with the etcd that it finds there, or with a new and empty one.",
    remedy: "Unmount what is there and start the mount's unit, which the finding names; or write \
             what is to be mounted into `/etc/fstab` or the unit, and run `systemctl daemon-reload`.",
    ..RKE2_CONFIG
};

pub(super) const DATA_DIR_UNLABELLED: About = About {
    name: "data-dir-unlabelled",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "With selinux: true etcd runs as rke2_service_db_t, which may use what has \
                   the labels of /var/lib/rancher/rke2 and nothing else; it ends, and RKE2 \
                   waits for it.",
        versions: "all with SELinux",
        source: "rke2 pkg/executor/staticpod/staticpod.go; rke2-selinux policy, rke2.fc",
    }]),
    cause: "SELinux enforces, and the data directory has not the labels of the default one, so \
            that etcd may not read it.",
    remedy: "Run the two lines that the finding has, `semanage fcontext` and `restorecon`.",
    ..RKE2_CONFIG
};

pub(super) const ETCD_ARG_UNSUPPORTED: About = About {
    name: "etcd-arg-unsupported",
    severities: &[Warning, Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: LosesData,
        rule: "RKE2 hands etcd-arg on and mounts its own directory alone into etcd's pod: \
                   with another one etcd writes into its container, which is gone with it, \
                   and neither snapshots nor the user etcd get it.",
        versions: "those that have etcd-arg, from 1.20.13 on",
        source: "k3s pkg/daemons/executor, ETCDConfig.ToConfigFile; rke2 pkg/executor/staticpod/staticpod.go",
    }]),
    cause: "`etcd-arg` gives etcd another directory, which RKE2 neither backs up nor gives to the \
            user etcd; fatal under a profile.",
    remedy: "Remove the argument. To move etcd's data, set `data-dir` of RKE2 before its first \
             start.",
    ..RKE2_CONFIG
};

pub(super) const DISABLE_ETCD_WITHOUT_SERVER: About = About {
    name: "disable-etcd-without-server",
    severities: &[Fatal],
    fatal: WhenFatal::By(&[Rule {
        class: Refuses,
        rule: "k3s ends at disable-etcd where server is empty; without the key only \
                   before it had a database of its own.",
        versions: "all",
        source: "k3s pkg/cli/server/server.go",
    }]),
    cause: "`disable-etcd` is set without `server`. RKE2 does not start.",
    remedy: "Set `server` to the address of a server with an etcd, or remove both keys.",
    ..RKE2_CONFIG
};

pub(super) const VERSION_NEWER: About = About {
    name: "version-newer",
    severities: &[Note],
    cause: "RKE2 is newer than the rules that nodeguard has; the newest of them are used.",
    remedy: "Update nodeguard.",
    ..RKE2_CONFIG
};

pub(super) const HIDDEN_FROM_SERVICE: About = About {
    name: "hidden-from-service",
    severities: &[Warning],
    cause: "The last gate found at this path another object than the daemon sees there: the unit \
            of the daemon hides it (`PrivateTmp=`, `ProtectHome=`, `PrivateDevices=`, or a setting \
            of the operator's), or it was mounted after the daemon's start and did not reach it. \
            What RKE2 uses there is not guarded between its starts. Only the daemon reports it.",
    remedy: "Take back the setting that the finding names, with `systemctl edit nodeguard`, and \
             restart nodeguard; or move what RKE2 uses to another place.",
    ..RKE2_CONFIG
};

pub(super) const OVERRIDE_PENDING: About = About {
    name: "override-pending",
    severities: &[Warning],
    cause: "RKE2's next start is let through whatever is wrong; see `override`.",
    remedy: "Nothing, if it is meant; `nodeguard override --role ROLE --withdraw` takes it back.",
    ..RKE2_CONFIG
};

pub(super) const OVERRIDE_USED: About = About {
    name: "override-used",
    severities: &[Warning],
    cause: "RKE2 runs from a start that was let through although the node was fatal.",
    remedy: "Mend what `nodeguard check` tells, then restart RKE2.",
    ..RKE2_CONFIG
};
