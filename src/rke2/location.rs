// SPDX-License-Identifier: Apache-2.0
//! Names that RKE2 does not open. It takes the path of each configuration file for an address first
//! (Go's `url.Parse`), and a file whose name is none keeps it down: `50%.yaml`, or one with a
//! control character.

/// The words with which RKE2 refuses a path, if it does.
pub(super) fn refused(path: &str) -> Option<String> {
    let (before, fragment) = path.split_once('#').unwrap_or((path, ""));
    let (shown, reason) = match address(before) {
        Some(reason) => (before, reason),
        None => (path, unescaped(fragment)?),
    };
    let words =
        format!("failed to parse config location {path}: parse {}: {reason}", quoted(shown));
    Some(words)
}

/// Without a fragment.
fn address(text: &str) -> Option<String> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Some("net/url: invalid control character in URL".into());
    }
    if text.starts_with(':') {
        return Some("missing protocol scheme".into());
    }
    let rest = match scheme(text) {
        // Whatever follows such a scheme is opaque.
        Some(rest) if !rest.starts_with('/') => return None,
        Some(rest) => rest,
        None => text,
    };
    let path = rest.split('?').next().unwrap_or_default();
    let first = path.split('/').next().unwrap_or_default();
    if first.contains(':') {
        return Some("first path segment in URL cannot contain colon".into());
    }
    unescaped(path)
}

/// What follows a scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let first = letters.next()?.is_ascii_alphabetic();
    (first && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))).then_some(rest)
}

/// The first percent sign that two hexadecimal digits do not follow.
fn unescaped(text: &str) -> Option<String> {
    let escape = text.match_indices('%').map(|(at, _)| &text[at..]).find(|escape| {
        let digits = escape.bytes().skip(1).take(2);
        digits.filter(u8::is_ascii_hexdigit).count() < 2
    })?;
    let shown: String = escape.chars().take(3).collect();
    Some(format!("invalid URL escape {}", quoted(&shown)))
}

/// As Go's `%q`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() && u32::from(c) < 0x80 => {
                out += &format!("\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With Go 1.26.
    #[test]
    fn a_name_that_is_no_address_is_refused_in_gos_words() {
        let dir = "/etc/rancher/rke2/config.yaml.d";
        for (name, reason) in [
            ("a.yaml", ""),
            ("a b.yaml", ""),
            ("a:b.yaml", ""),
            ("http:x.yaml", ""),
            ("?.yaml", ""),
            ("a?50%.yaml", ""),
            ("é.yaml", ""),
            ("a%20b.yaml", ""),
            ("a%fFb.yaml", ""),
            ("\u{fffd}.yaml", ""),
            ("50%.yaml", "invalid URL escape \"%.y\""),
            ("50%-cis.yaml", "invalid URL escape \"%-c\""),
            ("a%2.yaml", "invalid URL escape \"%2.\""),
            ("a%%20.yaml", "invalid URL escape \"%%2\""),
            ("x.yaml%", "invalid URL escape \"%\""),
            ("x.yaml%2", "invalid URL escape \"%2\""),
            ("a#50%.yaml", "invalid URL escape \"%.y\""),
            ("a\nb.yaml", "net/url: invalid control character in URL"),
            ("a\u{7f}.yaml", "net/url: invalid control character in URL"),
            ("\u{1b}[1m.yaml", "net/url: invalid control character in URL"),
            ("a#\n.yaml", ""),
        ] {
            let path = format!("{dir}/{name}");
            let words = refused(&path).unwrap_or_default();
            assert!(words.ends_with(reason) && words.is_empty() == reason.is_empty(), "{words}");
        }
        assert_eq!(
            refused("/a/50%.yaml").unwrap(),
            "failed to parse config location /a/50%.yaml: parse \"/a/50%.yaml\": invalid URL escape \
             \"%.y\""
        );
        for (path, reason) in [
            ("config.yaml", ""),
            ("./a:b", ""),
            ("a:b", ""),
            ("file:///etc/50%.yaml", "invalid URL escape \"%.y\""),
            (":a", "missing protocol scheme"),
            ("1:a", "first path segment in URL cannot contain colon"),
        ] {
            let words = refused(path).unwrap_or_default();
            assert!(words.ends_with(reason) && words.is_empty() == reason.is_empty(), "{words}");
        }
    }
}
