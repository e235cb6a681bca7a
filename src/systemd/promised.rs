// SPDX-License-Identifier: Apache-2.0
//! The mounts that systemd makes by itself near some directories: those of /etc/fstab, and those of
//! `.mount` and `.automount` units that something pulls in. Whether they are there is another matter.
//!
//! What systemd has loaded is not asked for, as everywhere (docs/decisions/0034): a line that was
//! written after the last daemon-reload counts as well, and the generator that orders RKE2 behind
//! its mounts runs while systemd answers nobody.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fstab::{self, Line};
use super::near::Near;
use super::order;
use super::pulls::Pulls;
use super::search_path::{self, DIRECTORIES};
use super::unit_name;
use super::units;
use crate::model::Origin;
use crate::rke2::unit::{self, UnitText};
use crate::system::listing::{exists, sorted_names};
use crate::system::root::Root;

/// Mounts that are looked at. Nobody has that many on the way to one directory and below it.
const MOST: usize = 64;

/// Bind mounts of what other bind mounts show that are followed. Nobody has more than one.
pub(crate) const BINDS: usize = 4;

/// The directory of units that systemd-fstab-generator writes into. What is in a directory before it
/// in the search path counts in the place of a line of fstab.
const GENERATED: &str = "/run/systemd/generator";

/// A mount that a line of fstab or a unit describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Where, without links as far as there are directories.
    pub place: PathBuf,
    /// The unit that makes it: the mount's, or that of the automount which makes it on demand.
    pub unit: String,
    /// What, as it is written.
    pub what: What,
    /// What further lines of fstab for the same place mount.
    pub others: Vec<What>,
    pub origin: Origin,
    /// systemd makes it by itself, and not only after RKE2.
    pub promised: bool,
    /// It waits for something of which it is not known to be there before RKE2, or is on what does.
    pub late: bool,
    /// The operator wants it to be made only when something asks for it.
    pub noauto: bool,
    /// What it waits for being mounted, besides what it is on.
    needs: Vec<PathBuf>,
}

impl Described {
    /// All that is described for the place.
    pub fn whats(&self) -> impl Iterator<Item = &What> {
        std::iter::once(&self.what).chain(&self.others)
    }

    /// The place with each directory that a bind mount is to show there.
    pub(crate) fn binds(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let binds = self.whats().filter(|what| what.bind);
        binds.map(|what| (self.place.as_path(), Path::new(&what.name)))
    }
}

/// What is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// A device, `LABEL=` and the like, a directory for a bind mount, a name.
    pub name: String,
    pub bind: bool,
}

/// What fstab and the units describe on the way to a data directory of RKE2's, or below it, ordered by
/// place. `text`: mountinfo.
pub(crate) fn near_data<'a>(
    root: &'a Root,
    data_dir: &Path,
    pulls: &Pulls,
    text: &str,
) -> (Near<'a>, Vec<Described>) {
    let fstab = root.read(Path::new(fstab::PATH), fstab::LIMIT).ok().flatten().unwrap_or_default();
    let lines = fstab::parse(&fstab);
    let units = Units::list(root);
    let by_line = lines.iter().filter(|line| line.is_automount()).map(|line| line.place.clone());
    let automounts = units.automounts.iter().cloned().chain(by_line).collect();
    let mut near = Near::data(root, data_dir, text, automounts);
    let mut found = described(root, &near, &lines, &units, pulls);
    // systemd makes the source of a bind mount where there is none: what that is to be on counts too.
    for _ in 0..BINDS {
        let binds = found.iter().flat_map(Described::binds);
        if !near.add(binds) {
            break;
        }
        found = described(root, &near, &lines, &units, pulls);
    }
    let all: BTreeSet<&Path> = lines
        .iter()
        .map(|line| line.place.as_path())
        .chain(units.places().map(|it| &**it))
        .collect();
    while let Some(late) =
        found.iter().position(|it| !it.late && is_on_late(&near, it, &found, &all))
    {
        found[late].late = true;
    }
    (near, found)
}

/// Whether a mount waits for one that is late, by what it is on, what it shows and what it needs. What
/// else is described on the way to what it needs may be late as well: nobody has looked.
fn is_on_late(near: &Near, mount: &Described, found: &[Described], all: &BTreeSet<&Path>) -> bool {
    let late = |path: &Path| {
        let mut on =
            found.iter().filter(|it| it.place != mount.place && path.starts_with(&it.place));
        on.any(|it| it.late)
    };
    let is_known = |path: &Path| {
        let mut on = all.iter().filter(|place| path.starts_with(place));
        on.all(|place| found.iter().any(|it| it.place == **place))
    };
    late(&mount.place)
        || mount.binds().any(|(place, source)| late(&near.source(place, source).path))
        || mount.needs.iter().any(|path| late(path) || !is_known(path))
}

/// What fstab and the units describe near RKE2's data, ordered by place.
fn described(
    root: &Root,
    near: &Near,
    lines: &[Line],
    units: &Units,
    pulls: &Pulls,
) -> Vec<Described> {
    let lines: Vec<(PathBuf, &Line)> =
        lines.iter().filter_map(|line| Some((near.place(&line.place)?, line))).collect();
    let mut places: BTreeSet<PathBuf> = lines.iter().map(|(place, _)| place.clone()).collect();
    places.extend(units.places().filter(|place| near.has(place)).cloned());
    places
        .into_iter()
        .filter_map(|place| {
            // Of two lines for one place the generator takes the first.
            let mut of_place = lines.iter().filter(|(of_line, _)| *of_line == place);
            let line = of_place.next().map(|(_, line)| *line);
            let what = |line: &Line| What { name: line.what.clone(), bind: line.is_bind() };
            let others = of_place.map(|(_, line)| what(line)).collect();
            Some(Described { others, ..units.described(root, &place, line, pulls)? })
        })
        .take(MOST)
        .collect()
}

/// The unit files and links of the search path that are about mounts.
struct Units {
    mounts: BTreeSet<PathBuf>,
    automounts: BTreeSet<PathBuf>,
    /// `*.wants` and its kind, of what systemd starts by itself.
    pulling: Vec<PathBuf>,
}

impl Units {
    fn list(root: &Root) -> Self {
        let (mounts, automounts, pulling) = Default::default();
        let mut units = Self { mounts, automounts, pulling };
        for dir in DIRECTORIES {
            for path in sorted_names(root, Path::new(dir)).unwrap_or_default() {
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                let ends = [".wants", ".requires", ".upholds"];
                if let Some(unit) = ends.iter().find_map(|end| name.strip_suffix(end)) {
                    if order::pulls_in(unit) {
                        units.pulling.push(path);
                    }
                } else if let Some(place) = unit_name::path_of(name, "mount") {
                    units.mounts.insert(place);
                } else if let Some(place) = unit_name::path_of(name, "automount") {
                    units.automounts.insert(place);
                }
            }
        }
        let root_directory = Path::new("/");
        units.mounts.remove(root_directory);
        units.automounts.remove(root_directory);
        units
    }

    fn places(&self) -> impl Iterator<Item = &PathBuf> {
        self.mounts.iter().chain(&self.automounts)
    }

    fn is_wanted(&self, root: &Root, name: &str) -> bool {
        self.pulling.iter().any(|dir| exists(root, &dir.join(name)))
    }

    fn described(
        &self,
        root: &Root,
        place: &Path,
        line: Option<&Line>,
        pulls: &Pulls,
    ) -> Option<Described> {
        let mount = Unit::read(root, unit_name::of_path(place, "mount"), line);
        let automount = Unit::read(root, unit_name::of_path(place, "automount"), line);
        // A unit of the generator's for a line that is gone goes with the next daemon-reload.
        if line.is_none() && !mount.is_there && !automount.is_there {
            return None;
        }
        let pulled = |unit: &Unit| self.is_wanted(root, &unit.name) || pulls.has(&unit.name, place);
        let on_demand = !automount.masked
            && (line.is_some_and(Line::is_automount) || automount.is_there && pulled(&automount));
        let at_once =
            line.is_some_and(|line| line.is_promised() && !line.is_automount()) || pulled(&mount);
        let (what, options, origin) = match (line, mount.is_there) {
            (Some(line), false) => {
                let origin = Origin::at(fstab::PATH, line.number);
                (line.what.clone(), None, origin)
            }
            _ => {
                let (what, origin) = mount.set("What").or_else(|| automount.file())?;
                (what, mount.set("Options").map(|(options, _)| options), origin)
            }
        };
        let bind = match &options {
            Some(options) => fstab::is_bind(fstab::options(options).iter().map(String::as_str)),
            None => !mount.is_there && line.is_some_and(Line::is_bind),
        };
        let mut follows: Vec<String> = Vec::new();
        follows.extend(line.into_iter().flat_map(Line::after).map(str::to_owned));
        follows.extend(mount.follows().chain(automount.follows()));
        let after_rke2 = follows.iter().any(|unit| order::is_followed(unit));
        // A mount, or a path that is one.
        let mounted = |unit: &String| match unit.starts_with('/') {
            true => fstab::plain(Path::new(unit)).filter(|path| !path.starts_with("/dev")),
            false => unit_name::path_of(unit, "mount"),
        };
        let late = follows.iter().any(|unit| {
            !order::is_early(unit) && !unit.starts_with('/') && mounted(unit).is_none()
        });
        let mut needs: Vec<PathBuf> = follows.iter().filter_map(mounted).collect();
        // The file of a loop device.
        needs.extend((!bind).then(|| mounted(&what)).flatten().filter(|_| what.starts_with('/')));
        let promised = !mount.masked
            && (on_demand || at_once)
            && !after_rke2
            && !mount.has_conditions()
            && !automount.has_conditions();
        let noauto = !on_demand && line.is_some_and(Line::is_noauto);
        let unit = if on_demand { automount.name } else { mount.name };
        let what = What { name: what, bind };
        let place = place.to_path_buf();
        let others = Vec::new();
        Some(Described { place, unit, what, others, origin, promised, late, noauto, needs })
    }
}

/// A unit for a place.
struct Unit {
    name: String,
    masked: bool,
    /// It has a file of its own, which counts and is not what the generator makes of fstab.
    is_there: bool,
    texts: Vec<UnitText>,
}

impl Unit {
    fn read(root: &Root, name: String, line: Option<&Line>) -> Self {
        let fragment = search_path::fragment(root, &name);
        let masked = fragment.as_deref().is_some_and(|path| search_path::is_masked(root, path));
        let texts = if masked { Vec::new() } else { units::loaded(root, &name) };
        let of_fstab = unit::values(&texts, "Unit]", &["SourcePath"])
            .last()
            .is_some_and(|(_, path, _)| path == fstab::PATH);
        // What the generator makes of a line counts before what is in /usr.
        let behind = |path: &Path| {
            let of = |dir: &str| path.parent() == Some(Path::new(dir));
            let generated = DIRECTORIES.iter().position(|dir| *dir == GENERATED);
            DIRECTORIES.iter().position(|dir| of(dir)) >= generated
        };
        let replaced = line.is_some() && fragment.as_deref().is_some_and(behind);
        let is_there = fragment.is_some() && !masked && !of_fstab && !replaced;
        let masked = masked && !replaced;
        Self { name, masked, is_there, texts }
    }

    /// What a key of `[Mount]` is set to last.
    fn set(&self, key: &str) -> Option<(String, Origin)> {
        let last = unit::values(&self.texts, "Mount]", &[key]).pop();
        last.filter(|_| self.is_there).map(|(_, value, origin)| (value, origin))
    }

    /// The file itself, of an automount whose mount has none.
    fn file(&self) -> Option<(String, Origin)> {
        let text = self.texts.first().filter(|_| self.is_there)?;
        Some((self.name.clone(), Origin::file(&text.path)))
    }

    /// The units, and the paths of mounts, that it says it waits for or needs. What is needed without an
    /// order is taken for an order.
    fn follows(&self) -> impl Iterator<Item = String> {
        let keys = ["After", "Requires", "BindsTo", "Requisite", "PartOf"];
        let paths = ["RequiresMountsFor", "WantsMountsFor"];
        let values = unit::values(&self.texts, "Unit]", &[&keys[..], &paths[..]].concat());
        values.into_iter().flat_map(|(_, value, _)| {
            let words = value.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            words.map(str::to_owned).collect::<Vec<_>>()
        })
    }

    /// Whether it may be left out, as for a kind of machine: what it says then is no promise.
    fn has_conditions(&self) -> bool {
        let texts = &self.texts;
        texts.iter().any(|text| {
            text.content.split(|&b| b == b'\n').any(|line| {
                let line = line.trim_ascii_start();
                line.starts_with(b"Condition") || line.starts_with(b"Assert")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// What is described on the way to /var/lib/rancher/rke2 and below it.
    fn all(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<Described> {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for (path, content) in files {
            fs::write(at(path), content).unwrap();
        }
        for (path, target) in links {
            symlink(target, at(path)).unwrap();
        }
        let root = Root::image(dir.path()).unwrap();
        let pulls = Pulls::of(&units::loaded(&root, "rke2-server.service"));
        near_data(&root, Path::new("/var/lib/rancher/rke2"), &pulls, "").1
    }

    /// What is promised on the way to /var/lib/rancher/rke2 and below it, with its unit and origin.
    fn promised(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<String> {
        let all = all(files, links).into_iter().filter(|it| it.promised);
        all.map(|it| format!("{} {} {} {}", it.place.display(), it.unit, it.what.name, it.origin))
            .collect()
    }

    const UNIT: &str = "etc/systemd/system/var-lib-rancher.mount";
    const MOUNT: &str = "[Mount]\nWhat=/dev/sdb1\nWhere=/var/lib/rancher\nOptions=nofail\n";
    const WANTED: &str = "etc/systemd/system/local-fs.target.wants/var-lib-rancher.mount";

    #[test]
    fn lines_of_fstab_near_the_directory_are_promised_and_others_are_not() {
        for (line, expected) in [
            (
                "LABEL=x /var/lib/rancher ext4 nofail",
                "/var/lib/rancher var-lib-rancher.mount LABEL=x /etc/fstab:2",
            ),
            ("/dev/sdb1 /var xfs defaults", "/var var.mount /dev/sdb1 /etc/fstab:2"),
            (
                "/data/db /var/lib/rancher/rke2/server/db none bind",
                "/var/lib/rancher/rke2/server/db var-lib-rancher-rke2-server-db.mount /data/db \
                 /etc/fstab:2",
            ),
            (
                "UUID=1 /var/lib/rancher/rke2 ext4 noauto,x-systemd.automount",
                "/var/lib/rancher/rke2 var-lib-rancher-rke2.automount UUID=1 /etc/fstab:2",
            ),
            ("UUID=1 /var/lib/rancher ext4 noauto", ""),
            ("UUID=1 /var/lib/rancher2 ext4 defaults", ""),
            ("UUID=1 /srv ext4 defaults", ""),
            ("nfs:/x /var/lib/rancher/rke2/x nfs x-systemd.after=rke2-server.service", ""),
            ("nfs:/x /var/lib/rancher/rke2/x nfs x-systemd.requires=nodeguard.service", ""),
        ] {
            let fstab = format!("# x\n{line}\n");
            assert_eq!(promised(&[("etc/fstab", &fstab)], &[]).join(";"), expected, "{line}");
        }
    }

    #[test]
    fn a_unit_is_promised_where_something_pulls_it_in() {
        let told = "/var/lib/rancher var-lib-rancher.mount /dev/sdb1 \
                    /etc/systemd/system/var-lib-rancher.mount:2";
        let rke2 = "usr/lib/systemd/system/rke2-server.service";
        let pulls = |line: &str| format!("[Unit]\n{line}\n[Service]\n");
        for (what, files, links, expected) in [
            ("enabled", vec![(UNIT, MOUNT.to_owned())], vec![(WANTED, "../x")], told),
            ("not enabled", vec![(UNIT, MOUNT.to_owned())], vec![], ""),
            (
                "wanted by what may never be started",
                vec![(UNIT, MOUNT.to_owned())],
                vec![
                    ("etc/systemd/system/backup.service.wants/var-lib-rancher.mount", "../x"),
                    ("etc/systemd/system/rescue.target.requires/var-lib-rancher.mount", "../x"),
                ],
                "",
            ),
            (
                "wanted by RKE2's unit in /etc",
                vec![(UNIT, MOUNT.to_owned())],
                vec![("etc/systemd/system/rke2-agent.service.wants/var-lib-rancher.mount", "../x")],
                told,
            ),
            (
                "wanted by RKE2",
                vec![(UNIT, MOUNT.to_owned()), (rke2, pulls("Wants=var-lib-rancher.mount"))],
                vec![],
                told,
            ),
            (
                "needed for a directory of RKE2's",
                vec![
                    (UNIT, MOUNT.to_owned()),
                    (rke2, pulls("RequiresMountsFor=/x /var/lib/rancher/a")),
                ],
                vec![],
                told,
            ),
            (
                "after RKE2",
                vec![(UNIT, format!("[Unit]\nAfter=rke2-server.service\n{MOUNT}"))],
                vec![(WANTED, "../x")],
                "",
            ),
            (
                "with a condition",
                vec![(UNIT, format!("[Unit]\nConditionHost=x\n{MOUNT}"))],
                vec![(WANTED, "../x")],
                "",
            ),
            ("masked", vec![], vec![(UNIT, "/dev/null"), (WANTED, "../x")], ""),
            ("empty, which is masked", vec![(UNIT, String::new())], vec![(WANTED, "../x")], ""),
        ] {
            let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
            assert_eq!(promised(&files, &links).join(";"), expected, "{what}");
        }
    }

    #[test]
    fn what_waits_for_something_that_is_not_surely_early_is_late() {
        let late = |files: &[(&str, &str)]| {
            let late = all(files, &[]).into_iter().filter(|it| it.late);
            late.map(|it| it.place.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let place = "/var/lib/rancher";
        for (options, expected) in [
            ("nofail", ""),
            ("_netdev,x-systemd.after=network-online.target", ""),
            ("x-systemd.requires=/dev/sdc1,x-systemd.after=systemd-udevd.service", ""),
            ("x-systemd.after=late.service", place),
            ("x-systemd.requires=late.service", place),
            ("x-systemd.after=nodeguard.service", place),
            ("x-systemd.after=multi-user.target", place),
            ("x-systemd.after=late.path", place),
            // Nothing is mounted there, or what is mounted is not known to be early.
            ("x-systemd.requires=/srv/x", ""),
            ("x-systemd.requires-mounts-for=/srv/x", ""),
            ("x-systemd.requires=/else/x", place),
            ("x-systemd.requires-mounts-for=/else/x", place),
        ] {
            let fstab =
                format!("/dev/sdb1 {place} ext4 {options}\n/dev/sdc1 /else ext4 defaults\n");
            assert_eq!(late(&[("etc/fstab", &fstab)]), expected, "{options}");
        }
        for (line, expected) in [
            ("After=local-fs-pre.target", ""),
            ("After=systemd-fsck@dev-sdb1.service", ""),
            ("After=late.service", place),
            ("Requires=late.service", place),
            ("BindsTo=late.service", place),
            ("After=else.mount", place),
            ("RequiresMountsFor=/else", place),
        ] {
            let unit = format!("[Unit]\n{line}\n{MOUNT}");
            let found = late(&[(UNIT, &unit), ("etc/fstab", "/dev/sdc1 /else ext4 defaults\n")]);
            assert_eq!(found, expected, "{line}");
        }
        // What is on it, and what shows something of it, waits as well.
        let fstab = "LABEL=big /big ext4 noauto,x-systemd.after=late.service\n\
                     /big/x /var/lib/rancher none bind\n\
                     LABEL=db /var/lib/rancher/rke2/server/db ext4 nofail\n\
                     LABEL=var /var ext4 defaults\n\
                     /big/image /var/lib ext4 loop\n";
        let found = late(&[("etc/fstab", fstab)]);
        assert_eq!(found, "/big /var/lib /var/lib/rancher /var/lib/rancher/rke2/server/db");
    }

    #[test]
    fn what_somebody_else_could_lead_to_the_data_is_no_promise() {
        let fstab = "/dev/sdb1 /home/alice/disk ext4 nofail\n";
        let link = ("home/alice", "/var/lib/rancher/rke2/server");
        assert_eq!(promised(&[("etc/fstab", fstab)], &[link]), Vec::<String>::new());
    }

    #[test]
    fn between_fstab_and_units_the_search_path_decides() {
        let fstab = ("etc/fstab", "UUID=1 /var/lib/rancher ext4 defaults\n");
        let generated = "run/systemd/generator/var-lib-rancher.mount";
        let of_fstab = format!("[Unit]\nSourcePath=/etc/fstab\n{MOUNT}");
        let by_line = "/var/lib/rancher var-lib-rancher.mount UUID=1 /etc/fstab:1";
        let by_unit = "/var/lib/rancher var-lib-rancher.mount /dev/sdb1 \
                       /etc/systemd/system/var-lib-rancher.mount:2";
        assert_eq!(promised(&[fstab, (generated, &of_fstab)], &[]), [by_line]);
        assert_eq!(
            promised(&[fstab, ("usr/lib/systemd/system/var-lib-rancher.mount", MOUNT)], &[]),
            [by_line]
        );
        assert_eq!(promised(&[fstab, (UNIT, MOUNT)], &[]), [by_unit]);
        assert_eq!(promised(&[fstab], &[(UNIT, "/dev/null")]), Vec::<String>::new());
        // The line is gone, and systemd was not told.
        let wanted = "run/systemd/generator/local-fs.target.requires/var-lib-rancher.mount";
        assert_eq!(promised(&[(generated, &of_fstab)], &[(wanted, "../x")]), Vec::<String>::new());
        // Another generator's.
        let other = promised(&[(generated, MOUNT)], &[(wanted, "../x")]);
        assert_eq!(other.len(), 1, "{other:?}");
        // Of several lines for one place the first counts.
        let twice = "UUID=1 /var/lib/rancher ext4 noauto\nUUID=2 /var/lib/rancher ext4 auto\n";
        assert_eq!(promised(&[("etc/fstab", twice)], &[]), Vec::<String>::new());
    }

    #[test]
    fn links_are_followed_on_both_sides() {
        let fstab = |place: &str| format!("UUID=1 {place} ext4 defaults\n");
        let link = ("var/lib/rancher", "/mnt/big/rancher");
        for place in ["/mnt/big", "/mnt/big/rancher/rke2", "/var/lib/rancher/rke2"] {
            let found = promised(&[("etc/fstab", &fstab(place))], &[link]);
            assert_eq!(found.len(), 1, "{place}: {found:?}");
        }
        let found = promised(&[("etc/fstab", &fstab("/mnt/other"))], &[link]);
        assert_eq!(found, Vec::<String>::new());
        // A place that is not near as it is written is not looked at.
        let found = promised(&[("etc/fstab", &fstab("/old/lib/rancher"))], &[("old", "var")]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_automount_unit_is_promised_with_its_mount() {
        let automount = "etc/systemd/system/var-lib-rancher.automount";
        let wanted = "etc/systemd/system/multi-user.target.wants/var-lib-rancher.automount";
        let found = promised(
            &[(UNIT, MOUNT), (automount, "[Automount]\nWhere=/var/lib/rancher\n")],
            &[(wanted, "../x")],
        );
        let told = "/var/lib/rancher var-lib-rancher.automount /dev/sdb1 \
                    /etc/systemd/system/var-lib-rancher.mount:2";
        assert_eq!(found, [told]);
    }

    #[test]
    fn sources_of_bind_mounts_are_followed_to_a_limit() {
        // Each shows what the next one shows.
        let lines: String = (0..BINDS + 4)
            .map(|n| match n {
                0 => "/d1/x /var/lib/rancher none bind\n".to_owned(),
                n => format!("/d{}/x /d{n} none bind\n", n + 1),
            })
            .collect();
        assert_eq!(promised(&[("etc/fstab", &lines)], &[]).len(), 1 + BINDS);
        // A circle ends.
        let circle = "/a/x /var/lib/rancher none bind\n/b/x /a none bind\n/a/y /b none bind\n";
        assert_eq!(promised(&[("etc/fstab", circle)], &[]).len(), 3);
    }

    #[test]
    fn no_more_mounts_are_looked_at_than_the_limit() {
        let lines: String = (0..MOST + 9)
            .map(|n| format!("UUID={n} /var/lib/rancher/rke2/{n} ext4 defaults\n"))
            .collect();
        assert_eq!(promised(&[("etc/fstab", &lines)], &[]).len(), MOST);
        let large = format!("UUID=1 /var ext4 defaults\n{}", "#".repeat(fstab::LIMIT));
        assert_eq!(promised(&[("etc/fstab", &large)], &[]), Vec::<String>::new());
    }
}
