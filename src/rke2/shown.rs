// SPDX-License-Identifier: Apache-2.0
//! What of RKE2's configuration may stand in a report, a journal, a terminal or a ticket.
//!
//! A value is shown where its flag is listed here and it looks like what that flag takes; everything
//! else is not. Tokens and passwords are not looked for: a list of what is secret is never whole,
//! and what belongs to one flag is now and then written to another.

use super::{flags, scalar};

/// What is shown instead.
pub const HIDDEN: &str = "(not shown)";

/// The longest value that is shown.
const LONGEST: usize = 256;

/// What a flag takes, where its value is of interest and no secret.
#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    /// One name.
    Name,
    /// Names, numbers and addresses, without a user in them.
    Word,
    /// An absolute path.
    Path,
    /// The data directory, which may be relative by mistake.
    Directory,
    /// An address, without its user.
    Address,
    /// A path, or an address.
    Source,
    /// An address, of which the kind of database is shown.
    Database,
    /// A flag of a program that RKE2 starts.
    Argument,
}

/// Those that are shown, but for the booleans.
const KINDS: &[(&str, Kind)] = &[
    ("advertise-address", Kind::Word),
    ("agent-token-file", Kind::Path),
    ("audit-policy-file", Kind::Path),
    ("bind-address", Kind::Word),
    ("cloud-provider-name", Kind::Word),
    ("cluster-cidr", Kind::Word),
    ("cluster-dns", Kind::Word),
    ("cluster-domain", Kind::Word),
    ("cluster-reset-restore-path", Kind::Path),
    ("cni", Kind::Word),
    ("config", Kind::Source),
    ("data-dir", Kind::Directory),
    ("datastore-cafile", Kind::Path),
    ("datastore-certfile", Kind::Path),
    ("datastore-endpoint", Kind::Database),
    ("datastore-keyfile", Kind::Path),
    ("disable", Kind::Word),
    ("egress-selector-mode", Kind::Word),
    ("etcd-arg", Kind::Argument),
    ("etcd-snapshot-dir", Kind::Path),
    ("etcd-snapshot-retention", Kind::Word),
    ("ingress-controller", Kind::Word),
    ("kube-apiserver-arg", Kind::Argument),
    ("kube-cloud-controller-manager-arg", Kind::Argument),
    ("kube-controller-manager-arg", Kind::Argument),
    ("kube-proxy-arg", Kind::Argument),
    ("kube-scheduler-arg", Kind::Argument),
    ("kubelet-arg", Kind::Argument),
    ("kubelet-path", Kind::Path),
    ("log", Kind::Path),
    ("node-external-ip", Kind::Word),
    ("node-ip", Kind::Word),
    ("node-name", Kind::Word),
    ("pod-security-admission-config-file", Kind::Path),
    ("private-registry", Kind::Path),
    ("profile", Kind::Name),
    ("resolv-conf", Kind::Path),
    ("secrets-encryption-provider", Kind::Word),
    ("server", Kind::Address),
    ("service-cidr", Kind::Word),
    ("service-node-port-range", Kind::Word),
    ("snapshotter", Kind::Word),
    ("tls-san", Kind::Word),
    ("token-file", Kind::Path),
    ("v", Kind::Word),
    ("write-kubeconfig", Kind::Path),
    ("write-kubeconfig-mode", Kind::Word),
];

/// Variables that stand in for one of these flags.
const VARIABLES: &[(&str, &str)] = &[
    ("RKE2_AGENT_TOKEN_FILE", "agent-token-file"),
    ("RKE2_AUDIT_POLICY_FILE", "audit-policy-file"),
    ("RKE2_CIS_PROFILE", "profile"),
    ("RKE2_CLUSTER_RESET", "cluster-reset"),
    ("RKE2_CNI", "cni"),
    ("RKE2_CONFIG_FILE", "config"),
    ("RKE2_DATASTORE_ENDPOINT", "datastore-endpoint"),
    ("RKE2_DATA_DIR", "data-dir"),
    ("RKE2_DEBUG", "debug"),
    ("RKE2_KUBECONFIG_MODE", "write-kubeconfig-mode"),
    ("RKE2_KUBECONFIG_OUTPUT", "write-kubeconfig"),
    ("RKE2_KUBELET_PATH", "kubelet-path"),
    ("RKE2_NODE_NAME", "node-name"),
    ("RKE2_RESOLV_CONF", "resolv-conf"),
    ("RKE2_SELINUX", "selinux"),
    ("RKE2_TOKEN_FILE", "token-file"),
    ("RKE2_URL", "server"),
];

/// Databases that RKE2 knows.
const DATABASES: [&str; 6] = ["etcd", "http", "https", "mysql", "nats", "postgres"];

/// A value of a flag, by its name of any length, as it may be shown.
pub fn value(flag: &str, value: &str) -> String {
    let flag = flags::canonical(flag);
    let kind = match KINDS.binary_search_by_key(&flag, |(name, _)| *name) {
        Ok(at) => Some(KINDS[at].1),
        Err(_) => flags::is_boolean(flag).then_some(Kind::Boolean),
    };
    // That nothing is set is worth knowing, and nobody's secret.
    if value.is_empty() {
        return String::new();
    }
    let hidden = || HIDDEN.to_owned();
    let plain = || value.to_owned();
    match kind {
        _ if value.len() > LONGEST => hidden(),
        Some(Kind::Boolean) => boolean(value),
        Some(Kind::Name) => name(value).to_owned(),
        Some(Kind::Word) if is_word(value) => plain(),
        Some(Kind::Path) if value.starts_with('/') && is_path(value) => plain(),
        Some(Kind::Directory) if is_directory(value) => plain(),
        Some(Kind::Address) => address(value),
        Some(Kind::Source) => source(value),
        Some(Kind::Database) => match value.split_once("://") {
            Some((scheme, _)) if DATABASES.contains(&scheme) => format!("{scheme}://{HIDDEN}"),
            _ => hidden(),
        },
        Some(Kind::Argument) => argument(value),
        _ => hidden(),
    }
}

/// The value of an environment variable.
pub fn variable(name: &str, text: &str) -> String {
    match VARIABLES.iter().find(|(variable, _)| *variable == name) {
        Some((_, flag)) => value(flag, text),
        None if text.is_empty() => String::new(),
        None => HIDDEN.to_owned(),
    }
}

/// What was written where a boolean or a number belongs.
pub fn boolean(value: &str) -> String {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"[]".contains(&b);
    // A comma that belongs into JSON is what is most often too much.
    let bare = value.strip_suffix([',', ';']).unwrap_or(value);
    let short = value.len() <= 8 && bare.bytes().all(letter);
    if scalar::parse_bool(value).is_some() || short { value.into() } else { HIDDEN.into() }
}

/// A key of a file or a name of a flag. With a blank or a colon that was forgotten, it is a value as
/// well.
pub fn name(name: &str) -> &str {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    if name.len() <= 48 && digits <= 3 && name.bytes().all(letter) { name } else { HIDDEN }
}

/// A key or a flag as it is written, with its dashes.
pub(super) fn key(written: &str) -> String {
    let bare = written.trim_start_matches('-');
    match &written[..written.len() - bare.len()] {
        dashes if dashes.len() <= 8 => format!("{dashes}{}", name(bare)),
        dashes => format!("{}…{}", &dashes[..8], name(bare)),
    }
}

/// A flag as it stands on a command line. What is written right behind a flag of one letter, as
/// `-tVALUE`, is its value to many programs, if not to RKE2.
pub fn flag(dashes: &str, text: &str) -> String {
    let server = crate::model::Role::Server;
    let first = text.chars().next().map_or("", |first| &text[..first.len_utf8()]);
    if dashes == "-" && text != first && !flags::is_known(server, text) {
        let first = if flags::is_known(server, first) { first } else { "" };
        return format!("-{first}{HIDDEN}");
    }
    format!("{dashes}{}", name(text))
}

/// Where a configuration is read from: a path or an address.
pub fn source(source: &str) -> String {
    if source.contains("://") {
        address(source)
    } else if source.starts_with('/') && is_path(source) {
        source.to_owned()
    } else {
        HIDDEN.to_owned()
    }
}

/// An address without whoever asks there, and without its query.
pub fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return HIDDEN.to_owned() };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    // The last one: a password may have one in it.
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let (path, more) = match rest[end..].find(['?', '#']) {
        Some(at) => (&rest[end..end + at], "?…"),
        None => (&rest[end..], ""),
    };
    let path_like = |c: char| c.is_ascii_alphanumeric() || ".-_~/".contains(c);
    let scheme_like = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https");
    // An @ further on makes all before it the user's.
    let clear = !rest[end..].contains('@');
    if scheme_like && clear && is_host(host) && path.chars().all(path_like) {
        format!("{scheme}://{host}{path}{more}")
    } else {
        HIDDEN.to_owned()
    }
}

/// With a port at most: what else stands behind a colon is a password.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (text, ""),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let inside = |c: char| c.is_ascii_hexdigit() || ".:".contains(c);
    !name.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && bare.map_or_else(|| name.chars().all(plain), |bare| bare.chars().all(inside))
}

/// `name=value` for another program.
pub fn argument(argument: &str) -> String {
    let bare = argument.trim_start_matches('-');
    let dashes = &argument[..argument.len() - bare.len()];
    let Some((flag, text)) = bare.split_once('=') else {
        return if bare == "protect-kernel-defaults" { argument.into() } else { HIDDEN.into() };
    };
    let lower = |b: u8| b.is_ascii_lowercase() || b == b'-';
    if flag.is_empty() || flag.len() > 64 || !flag.bytes().all(lower) || dashes.len() > 2 {
        return HIDDEN.to_owned();
    }
    let text = match flag {
        _ if text.is_empty() => String::new(),
        "protect-kernel-defaults" => boolean(text),
        "data-dir" | "wal-dir" if is_path(text) && text.len() <= LONGEST => text.to_owned(),
        _ => HIDDEN.to_owned(),
    };
    format!("{dashes}{flag}={text}")
}

/// The beginning of a text that is no mapping, as RKE2's library quotes it, where that is a flag
/// that was written with a wrong sign behind it.
pub(super) fn beginning(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(text.len());
    let flag = &text[..end];
    let known = flags::is_known(crate::model::Role::Server, flag);
    match flag.get(..7) {
        // As it cuts it.
        Some(cut) if known && text.len() > 10 => format!("{cut}..."),
        _ if known && text.len() > 10 => format!("{flag}..."),
        _ if known || text.is_empty() => flag.to_owned(),
        _ => HIDDEN.to_owned(),
    }
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:/,+*[]".contains(c))
        && !text.contains("//")
}

/// A relative one is no directory but a mistake, and has to look the more like one.
fn is_directory(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    is_path(text) && (text.starts_with('/') || text.chars().all(plain))
}

/// Neither a command line nor an address that lost a slash.
fn is_path(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@' || c == '?')
        && !text.contains(":/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_as_the_search_in_it_needs_and_has_flags_of_rke2_only() {
        assert!(KINDS.is_sorted_by_key(|(name, _)| *name));
        for (flag, _) in KINDS {
            assert!(flags::is_known(crate::model::Role::Server, flag), "{flag}");
        }
        for (_, flag) in VARIABLES {
            assert!(flags::is_known(crate::model::Role::Server, flag), "{flag}");
        }
    }

    #[test]
    fn a_value_is_shown_where_it_is_one_of_its_flag() {
        for (flag, text, expected) in [
            ("profile", "cis", "cis"),
            ("data-dir", "/opt/rke2", "/opt/rke2"),
            ("d", "relative", "relative"),
            ("selinux", "true", "true"),
            ("selinux", "ture", "ture"),
            ("selinux", "K10abcdef::server:x", HIDDEN),
            ("tls-san", "a.example", "a.example"),
            ("token", "K10abc", HIDDEN),
            ("t", "K10abc", HIDDEN),
            ("token", "", ""),
            ("token-file", "/etc/token", "/etc/token"),
            // The token in the place of its file.
            ("token-file", "K10abc::server:x", HIDDEN),
            ("agent-token", "x", HIDDEN),
            ("vpn-auth", "x", HIDDEN),
            ("etcd-s3-secret-key", "x", HIDDEN),
            ("etcd-s3-endpoint", "https://u:p@s3", HIDDEN),
            ("kube-apiserver-extra-env", "A=secret", HIDDEN),
            ("datastore-endpoint", "mysql://me:pw@tcp(x)/", "mysql://(not shown)"),
            ("datastore-endpoint", "me:pw@tcp(x)/", HIDDEN),
            ("datastore-endpoint", "pw://x", HIDDEN),
            ("server", "https://s.example:9345", "https://s.example:9345"),
            ("server", "https://me:p@w@s.example:9345/x?y", "https://s.example:9345/x?…"),
            ("server", "https://me:p/w@s.example", HIDDEN),
            ("server", "https://[fd00::1]:9345", "https://[fd00::1]:9345"),
            ("server", "me:pw", HIDDEN),
            ("config", "HTTPS://u:p@h/c.yaml?k=v", "HTTPS://h/c.yaml?…"),
            ("config", "https://u:p?w@h/c", HIDDEN),
            ("config", "https://h/c;x=y", HIDDEN),
            ("config", "https://u:p", HIDDEN),
            ("config", "https://me/c?as=u:p@h", HIDDEN),
            ("config", "https:/u:p@h/c", HIDDEN),
            ("config", "/etc/c.yaml", "/etc/c.yaml"),
            ("config", "exec rke2 server --token K10", HIDDEN),
            ("kubelet-arg", "protect-kernel-defaults=false", "protect-kernel-defaults=false"),
            ("kubelet-arg", "--protect-kernel-defaults", "--protect-kernel-defaults"),
            ("kube-apiserver-arg", "oidc-client-secret=x", "oidc-client-secret=(not shown)"),
            ("kube-apiserver-arg", "--token x", HIDDEN),
            ("kube-apiserver-arg", "K10=x", HIDDEN),
            ("etcd-arg", "data-dir=/x", "data-dir=/x"),
            ("no-flag-of-rke2", "x", HIDDEN),
        ] {
            assert_eq!(value(flag, text), expected, "{flag} {text}");
        }
        let long = format!("/{}", "x".repeat(LONGEST));
        assert_eq!(value("data-dir", &long), HIDDEN);
        assert_eq!(value("data-dir", &long[1..]), &long[1..]);
        for (name, text, expected) in [
            ("RKE2_CIS_PROFILE", "cis", "cis"),
            ("RKE2_TOKEN", "x", HIDDEN),
            ("RKE2_CONFIG_FILE", "https://u:p@h/x", "https://h/x"),
            ("RKE2_URL", "https://u:p@h", "https://h"),
            ("RKE2_SOMETHING_NEW", "x", HIDDEN),
        ] {
            assert_eq!(variable(name, text), expected, "{name}");
        }
        for (written, expected) in [
            ("tokne", "tokne"),
            ("etcd-s3-region", "etcd-s3-region"),
            ("token:K10abc", HIDDEN),
            ("token=K10abc", HIDDEN),
            ("K10abc12345", HIDDEN),
        ] {
            assert_eq!(name(written), expected);
        }
        for (dashes, text, expected) in [
            ("-", "t", "-t"),
            ("-", "token", "-token"),
            ("--", "tokne", "--tokne"),
            ("-", "tsecret", "-t(not shown)"),
            ("-", "ésecret", "-(not shown)"),
            ("-", "", "-"),
        ] {
            assert_eq!(flag(dashes, text), expected);
        }
        for (text, expected) in [
            ("profile=cis and more", "profile..."),
            ("token=K10abcdef", "token..."),
            ("K10abcdef", HIDDEN),
        ] {
            assert_eq!(beginning(text), expected);
        }
    }
}
