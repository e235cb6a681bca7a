// SPDX-License-Identifier: Apache-2.0
//! Looking at what is mounted on the way to RKE2's data and below it, and at what should be.

use std::path::{Path, PathBuf};

use super::facts::{Mounts, NoExec, PromisedMount, There};
use super::judge::hidden::is_hidden;
use crate::system::obstacle::in_our_service;
use crate::system::root::Root;
use crate::systemd::mounts::{self, Mount};
use crate::systemd::near::Near;
use crate::systemd::promised::{self, Described, What};
use crate::systemd::pulls::Pulls;

/// Bytes of what udev and the kernel keep of one device.
const DEVICE_LIMIT: usize = 64 * 1024;

/// Below the data directory, what RKE2 unpacks its programs into: containerd, the kubelet, runc.
const PROGRAMS: &str = "data";

/// `text`: mountinfo.
pub(crate) fn observe(root: &Root, data_dir: &Path, pulls: &Pulls, text: &str) -> Mounts {
    let (near, described) = promised::near_data(root, data_dir, pulls, text);
    let programs = near.own(&data_dir.join(PROGRAMS));
    root.recording().starts_from(&programs);
    let mut places: Vec<PathBuf> = described.iter().map(|it| it.place.clone()).collect();
    // What a bind mount shows is where its source is.
    let binds = described.iter().flat_map(Described::binds);
    places.extend(binds.map(|(place, source)| near.source(place, source).path));
    places.push(programs.clone());
    let mounted = mounts::Mounts::read(text, &places);

    let no_exec = mounted.reached(&programs).filter(|mount| mount.has("noexec")).map(|mount| {
        let by = described.iter().find(|it| it.place == mount.point);
        let origin = by.map(|it| it.origin.clone());
        NoExec { programs: programs.clone(), point: mount.point.clone(), origin }
    });
    let in_service = in_our_service();
    let promised = described
        .into_iter()
        // The gate, which is in no sandbox, looks at those.
        .filter(|it| it.promised && !(in_service && is_hidden(&it.place)))
        .map(|it| {
            let holds_cluster = near.holds_cluster(&it.place);
            let there = match mounted.at(&it.place) {
                None => There::Nothing,
                Some(mount) if is_another(root, &near, &it, mount, &mounted, in_service) => {
                    There::Another(format!("{} ({})", mount.source, mount.kind))
                }
                Some(_) => There::Mount,
            };
            let Described { place, unit, what, origin, .. } = it;
            PromisedMount { place, holds_cluster, unit, what: what.name, origin, there }
        })
        .collect();
    Mounts { no_exec, promised }
}

/// Whether what is mounted is surely none of what is promised there.
fn is_another(
    root: &Root,
    near: &Near<'_>,
    described: &Described,
    mount: &Mount,
    mounted: &mounts::Mounts,
    in_service: bool,
) -> bool {
    described.whats().all(|what| {
        let same = match what.bind {
            true => shows(near, what, mount, mounted, in_service),
            false => is_on(root, what, mount),
        };
        same == Some(false)
    })
}

/// Whether a mount shows the directory that it is to show. `None`: it cannot be told.
fn shows(
    near: &Near<'_>,
    what: &What,
    mount: &Mount,
    mounted: &mounts::Mounts,
    in_service: bool,
) -> Option<bool> {
    let led = near.source(&mount.point, Path::new(&what.name));
    let source = led.path;
    if !led.whole || mount.kind == "autofs" || (in_service && is_hidden(&source)) {
        return None;
    }
    let on = mounted.reached(&source).filter(|on| on.kind != "autofs")?;
    let inside = source.strip_prefix(&on.point).ok()?;
    let expected = match inside.as_os_str().is_empty() {
        true => on.root.clone(),
        false => on.root.join(inside),
    };
    Some(mount.device == on.device && mount.root == expected)
}

/// Whether a mount is of the device that it is to be of. `None`: it cannot be told.
fn is_on(root: &Root, what: &What, mount: &Mount) -> Option<bool> {
    let wanted = device_link(&what.name)?;
    if mount.kind == "autofs" {
        return None;
    }
    if mount.is_without_device() {
        return Some(false);
    }
    if mount.source == what.name {
        return Some(true);
    }
    let read = |path: String| {
        let content = root.read(Path::new(&path), DEVICE_LIMIT).ok().flatten()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    };
    // A file system over several devices has a number of its own.
    let device = match mount.device.starts_with("0:") {
        false => mount.device.clone(),
        true => {
            let name = mount.source.strip_prefix("/dev/").filter(|name| !name.contains('/'))?;
            read(format!("/sys/class/block/{name}/dev"))?.trim().to_owned()
        }
    };
    let udev = read(format!("/run/udev/data/b{device}"))?;
    let uevent = read(format!("/sys/dev/block/{device}/uevent")).unwrap_or_default();
    has_link(&wanted, &udev, &uevent)
}

/// What a device is called below /dev, as systemd looks for it; `None`: it is no device, or one whose
/// name nobody can tell from others.
fn device_link(name: &str) -> Option<String> {
    let tags = [
        ("UUID=", "disk/by-uuid/"),
        ("LABEL=", "disk/by-label/"),
        ("PARTUUID=", "disk/by-partuuid/"),
        ("PARTLABEL=", "disk/by-partlabel/"),
        ("ID=", "disk/by-id/"),
    ];
    for (tag, dir) in tags {
        if let Some(value) = name.strip_prefix(tag) {
            return Some(format!("{dir}{}", encoded(value.trim_matches(['"', '\'']))));
        }
    }
    name.strip_prefix("/dev/").filter(|name| !name.contains('%')).map(str::to_owned)
}

/// As udev encodes a value in the name of a link.
fn encoded(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
    let mut out = String::new();
    for c in value.chars() {
        match plain(c) {
            true => out.push(c),
            false => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        }
    }
    out
}

/// Whether a device has a name below /dev, by what udev keeps of its links (`S:`) and by the kernel's
/// own name for it. `None`: udev knows no name of that kind.
fn has_link(wanted: &str, udev: &str, uevent: &str) -> Option<bool> {
    let links = || udev.lines().filter_map(|line| line.strip_prefix("S:"));
    let kernels = uevent.lines().filter_map(|line| line.strip_prefix("DEVNAME="));
    if links().chain(kernels.clone()).any(|link| link.eq_ignore_ascii_case(wanted)) {
        return Some(true);
    }
    // A device that udev has looked into has links by what it is and by what is on it.
    let kind = match wanted.rsplit_once('/') {
        Some((kind, _)) if wanted.starts_with("disk/") => kind,
        _ if wanted.contains('/') => return None,
        // The kernel's names are all there is to compare with, but a device may be a part of one of
        // the device mapper's.
        _ => return kernels.clone().next().filter(|name| !name.starts_with("dm-")).map(|_| false),
    };
    // What they are on is told by links of other kinds for a device with several ways to it.
    let by_content = ["uuid", "label", "partuuid", "partlabel"];
    let told = kind.strip_prefix("disk/by-").is_some_and(|kind| by_content.contains(&kind));
    let looked = links().any(|link| link.starts_with("disk/by-uuid/"));
    (told && looked).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDEV: &str = "S:disk/by-uuid/1234-ABCD\nS:disk/by-label/my\\x20disk\nS:disk/by-id/wwn-1\n\
                        W:9\nI:123\nE:ID_FS_UUID=1234-ABCD\n";
    const UEVENT: &str = "MAJOR=8\nMINOR=17\nDEVNAME=sdb1\nDEVTYPE=partition\n";

    #[test]
    fn a_device_is_known_by_the_links_that_udev_made_for_it() {
        for (what, expected) in [
            ("UUID=1234-abcd", Some(true)),
            ("UUID=\"1234-ABCD\"", Some(true)),
            ("LABEL=my disk", Some(true)),
            ("/dev/disk/by-id/wwn-1", Some(true)),
            ("/dev/sdb1", Some(true)),
            ("UUID=9999-9999", Some(false)),
            ("LABEL=other", Some(false)),
            // It has no name of the kind, and udev has looked into it.
            ("PARTLABEL=etcd", Some(false)),
            ("/dev/sdc1", Some(false)),
            // Links that this udev may not keep, and those of a device with several ways to it.
            ("/dev/vg/etcd", None),
            ("/dev/disk/by-id/scsi-2", None),
        ] {
            let wanted = device_link(what).unwrap();
            assert_eq!(has_link(&wanted, UDEV, UEVENT), expected, "{what}");
        }
        assert_eq!(has_link("disk/by-uuid/1", "I:1\n", ""), None, "udev knows nothing of it");
        assert_eq!(has_link("sdb1", UDEV, "DEVNAME=dm-3\n"), None, "it may be a part of that");
        for what in ["tmpfs", "server:/export", "/srv/image", "//host/share"] {
            assert_eq!(device_link(what), None, "{what}");
        }
    }

    /// What is at the place of a promised mount, by fstab and mountinfo.
    fn there(line: &str, mounted: &str) -> There {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/fstab"), line).unwrap();
        let root = Root::image(dir.path()).unwrap();
        let text = format!("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mounted}");
        let data_dir = Path::new("/var/lib/rancher/rke2");
        let mut found = observe(&root, data_dir, &Pulls::default(), &text).promised;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).there
    }

    #[test]
    fn what_is_mounted_is_the_promised_mount_unless_it_is_surely_another() {
        let bind = "/data/db /var/lib/rancher/rke2/server/db none bind,nofail\n";
        let place = "/var/lib/rancher/rke2/server/db";
        let data = "30 25 8:17 / /data rw - ext4 /dev/sdb1 rw\n";
        let right = format!("{data}31 25 8:17 /db {place} rw - ext4 /dev/sdb1 rw\n");
        let disk = "LABEL=etcd /var/lib/rancher ext4 nofail\n";
        let mounted = "31 25 8:17 / /var/lib/rancher rw - ext4 /dev/sdb1 rw\n";
        let tmpfs = "31 25 0:44 / /var/lib/rancher rw - tmpfs tmpfs rw\n";
        let another = |what: &str| There::Another(what.into());
        for (line, mounted, expected) in [
            (bind, "", There::Nothing),
            (bind, data, There::Nothing),
            (bind, right.as_str(), There::Mount),
            // Bound before the disk of its source was mounted.
            (
                bind,
                &format!("{data}31 25 8:1 /data/db {place} rw - ext4 /dev/sda1 rw\n"),
                another("/dev/sda1 (ext4)"),
            ),
            // Another directory.
            (
                bind,
                &format!("{data}31 25 8:17 /db.old {place} rw - ext4 /dev/sdb1 rw\n"),
                another("/dev/sdb1 (ext4)"),
            ),
            (disk, "", There::Nothing),
            (disk, mounted, There::Mount),
            (disk, tmpfs, another("tmpfs (tmpfs)")),
            // An automount that nobody has looked into yet.
            (disk, "31 25 0:44 / /var/lib/rancher rw - autofs systemd-1 rw\n", There::Mount),
            ("server:/x /var/lib/rancher nfs nofail\n", tmpfs, There::Mount),
            // Of two lines for one place either will do.
            (
                "LABEL=etcd /var/lib/rancher ext4 nofail\n/dev/sdb1 /var/lib/rancher ext4 nofail\n",
                mounted,
                There::Mount,
            ),
        ] {
            assert_eq!(there(line, mounted), expected, "{line}{mounted}");
        }
    }

    #[test]
    fn what_a_bind_mount_shows_has_to_be_mounted_as_well() {
        let fstab = "LABEL=big /big ext4 nofail\n/big/data /data none bind,nofail\n\
                     /data/db /var/lib/rancher/rke2/server/db none bind,nofail\n\
                     LABEL=images /var/lib/rancher/rke2/agent/images ext4 nofail\n\
                     LABEL=beside /data/beside ext4 nofail\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/fstab"), fstab).unwrap();
        let root = Root::image(dir.path()).unwrap();
        // systemd makes the source of a bind mount where it is not there, and binds that.
        let text = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    31 25 8:1 /data/db /var/lib/rancher/rke2/server/db rw - ext4 /dev/sda1 rw\n";
        let found = observe(&root, Path::new("/var/lib/rancher/rke2"), &Pulls::default(), text);
        let told: Vec<_> = found
            .promised
            .iter()
            .map(|it| (it.place.to_str().unwrap(), it.holds_cluster, it.there == There::Nothing))
            .collect();
        assert_eq!(
            told,
            [
                ("/big", true, true),
                ("/data", true, true),
                ("/var/lib/rancher/rke2/agent/images", false, true),
                ("/var/lib/rancher/rke2/server/db", true, false),
            ]
        );
    }

    #[test]
    fn what_is_beside_etcd_does_not_hold_the_cluster() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let data_dir = Path::new("/var/lib/rancher/rke2");
        let fstab = "nfs:/x /var/lib/rancher/rke2/server/db/snapshots nfs nofail\n\
                     /data/logs /var/lib/rancher/rke2/server/logs none bind,nofail\n\
                     LABEL=big /data ext4 nofail\n\
                     LABEL=wal /var/lib/rancher/rke2/server/db/etcd/member/wal ext4 nofail\n\
                     LABEL=server /var/lib/rancher/rke2/server ext4 nofail\n";
        std::fs::write(dir.path().join("etc/fstab"), fstab).unwrap();
        let root = Root::image(dir.path()).unwrap();
        let found = observe(&root, data_dir, &Pulls::default(), "").promised;
        let holds: Vec<_> = found.iter().map(|it| (it.what.as_str(), it.holds_cluster)).collect();
        let expected = [
            ("LABEL=big", false),
            ("LABEL=server", true),
            ("LABEL=wal", true),
            ("nfs:/x", false),
            ("/data/logs", false),
        ];
        assert_eq!(holds, expected);
    }

    #[test]
    fn no_more_is_read_of_a_device_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("run/udev/data");
        std::fs::create_dir_all(&data).unwrap();
        let root = Root::image(dir.path()).unwrap();
        let text = "31 25 8:17 / /x rw - ext4 /dev/sdb1 rw\n";
        let mounted = mounts::Mounts::read(text, &["/x".into()]);
        let mount = mounted.at(Path::new("/x")).unwrap();
        let what = What { name: "UUID=1".into(), bind: false };
        for (more, expected) in [(0, Some(false)), (DEVICE_LIMIT, None)] {
            let content = format!("S:disk/by-uuid/2\n{}", "#".repeat(more));
            std::fs::write(data.join("b8:17"), content).unwrap();
            assert_eq!(is_on(&root, &what, mount), expected, "{more}");
        }
    }

    #[test]
    fn no_exec_counts_where_rke2_unpacks_its_programs_and_nowhere_else() {
        let on = |line: &str, text: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("etc")).unwrap();
            std::fs::write(dir.path().join("etc/fstab"), line).unwrap();
            let root = Root::image(dir.path()).unwrap();
            let text = format!("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n{text}");
            let found =
                observe(&root, Path::new("/var/lib/rancher/rke2"), &Pulls::default(), &text);
            found.no_exec.map(|it| {
                let origin = it.origin.map(|origin| format!(" {origin}")).unwrap_or_default();
                format!("{}{origin}", it.point.display())
            })
        };
        let var = "30 25 8:17 / /var rw,nosuid,nodev,noexec,relatime - ext4 /dev/sdb1 rw\n";
        for (line, text, expected) in [
            ("", "", None),
            ("", var, Some("/var")),
            ("/dev/sdb1 /var ext4 noexec\n", var, Some("/var /etc/fstab:1")),
            ("/dev/sdb1 /var ext4 noauto,noexec\n", var, Some("/var /etc/fstab:1")),
            // What is mounted further down counts.
            (
                "",
                &format!("{var}31 30 8:33 / /var/lib/rancher rw,relatime - ext4 /dev/sdc1 rw\n"),
                None,
            ),
            (
                "",
                "31 25 8:33 / /var/lib/rancher/rke2/data rw,noexec - ext4 /dev/sdc1 rw\n",
                Some("/var/lib/rancher/rke2/data"),
            ),
            // Where nothing is started.
            ("", "31 25 8:33 / /var/lib/rancher/rke2/server rw,noexec - ext4 /dev/sdc1 rw\n", None),
            // An option of the file system's, and a word in a name.
            ("", "31 25 8:33 / /var/lib/noexec rw - ext4 /dev/sdc1 rw,noexec\n", None),
        ] {
            assert_eq!(on(line, text).as_deref(), expected, "{text}");
        }
    }
}
