// SPDX-License-Identifier: Apache-2.0
//! Files that were meant to be RKE2's configuration and that RKE2 does not read, by their names.

use super::edit;
use crate::model::{Code, Finding, Origin, quoted, shown};
use crate::rke2::beside::Beside;
use crate::rke2::shown::source;
use crate::rke2::{Config, ConfigPath, DEFAULT_CONFIG};

/// Files that are told.
const TOLD: usize = 4;

pub(super) fn judge(config: &Config) -> Vec<Finding> {
    let read = source(config.path.file().unwrap_or_default());
    let absent = absent(config).into_iter();
    absent.chain(config.beside.iter().take(TOLD).map(|beside| finding(&read, beside))).collect()
}

/// RKE2 forgives a file that is named and not there, and starts with none at all.
fn absent(config: &Config) -> Option<Finding> {
    let ConfigPath::File { path, origin: Some(origin) } = &config.path else { return None };
    // It may be anything that stands where a path should.
    let path = source(path);
    config.has_no_file.then(|| {
        Finding::new(Code::ConfigNotRead, "config")
            .expected("a configuration file")
            .actual("absent")
            .origin(origin.clone())
            .message(format!(
                "RKE2 reads {path} and {path}.d/*.yaml, as {origin} names it, and none of them is \
                 there: RKE2 starts without a configuration file"
            ))
            .remedy(format!(
                "{}: name the file that is meant; RKE2's own is {DEFAULT_CONFIG}",
                edit(Some(origin))
            ))
    })
}

fn finding(read: &str, beside: &Beside) -> Finding {
    let Beside { path, meant, profile } = beside;
    let name = shown(path);
    let says = profile.as_ref().map(|(profile, _)| format!(", which sets the profile {profile}"));
    let line = profile.as_ref().map(|(_, line)| *line);
    Finding::new(Code::ConfigNotRead, name.clone())
        .expected(shown(meant))
        .actual(name.clone())
        .origin(Origin { file: name.clone(), line })
        .message(format!(
            "RKE2 reads {read} and {read}.d/*.yaml, and not {name}{}: probably {} is meant",
            says.unwrap_or_default(),
            shown(meant),
        ))
        .remedy(format!(
            "move what is meant in {0} to {1} (mv {0} {1}, if that is not there), or remove it",
            quoted(path),
            quoted(meant),
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Role, Severity};
    use crate::rke2::Inputs;

    #[test]
    fn a_file_that_is_not_read_is_told_with_the_one_that_is() {
        let mut config = Config::unset(Role::Server, Inputs::none(Role::Server).path);
        let beside = |profile: Option<(&str, u32)>| Beside {
            path: "/etc/rancher/rke2/config.yml".into(),
            meant: "/etc/rancher/rke2/config.yaml".into(),
            profile: profile.map(|(profile, line)| (profile.into(), line)),
        };
        config.beside = vec![beside(Some(("cis", 2))), beside(None)];
        let found = judge(&config);
        assert_eq!(
            (found[0].code.as_str(), found[0].severity),
            ("config-not-read", Severity::Warning)
        );
        assert_eq!(found[0].origin, Some(Origin::at("/etc/rancher/rke2/config.yml", 2)));
        assert!(found[0].message.starts_with("RKE2 reads /etc/rancher/rke2/config.yaml and "));
        assert!(found[0].message.contains("config.yml, which sets the profile cis: probably"));
        assert!(found[1].message.contains("config.yml: probably"), "{:?}", found[1]);
        config.beside = vec![beside(None); TOLD + 1];
        assert_eq!(judge(&config).len(), TOLD);
        config.beside.clear();
        config.has_no_file = true;
        assert_eq!(judge(&config), [], "nobody named it");
        let origin = Some(Origin::at("/etc/default/rke2-server", 1));
        config.path = ConfigPath::File { path: "/nope".into(), origin };
        assert!(judge(&config)[0].message.contains("starts without a configuration file"));
    }
}
