// SPDX-License-Identifier: Apache-2.0
//! Where RKE2's YAML library is stricter than the parser used here: files that today's YAML
//! allows and on which RKE2 does not start.

use serde_saphyr::granit_parser::YamlVersion;

/// Words that yaml.v2 uses, for what stands before the first document's content.
pub(super) fn check_prologue(text: &str) -> Result<(), (u32, &'static str)> {
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(directive) = line.strip_prefix('%') {
            let name = directive.split_whitespace().next().unwrap_or_default();
            if !matches!(name, "YAML" | "TAG") {
                return Err((number, "found unknown directive name"));
            }
        } else if line.starts_with("...") {
            return Err((number, "did not find expected node content"));
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            break;
        }
    }
    Ok(())
}

/// yaml.v2 reads YAML 1.1 and refuses a file that announces another version.
pub(super) fn check_version(version: Option<&YamlVersion>) -> Result<(), &'static str> {
    match version {
        Some(version) if (version.major, version.minor) != (1, 1) => {
            Err("found incompatible YAML document")
        }
        _ => Ok(()),
    }
}

/// JSON's `\/` and its surrogate pairs are no escapes of YAML 1.1. `raw` is the scalar with its
/// double quotes.
pub(super) fn check_escapes(raw: &str) -> Result<(), &'static str> {
    let mut rest = raw;
    while let Some((_, escape)) = rest.split_once('\\') {
        let mut chars = escape.chars();
        match chars.next() {
            Some('/') => return Err("found unknown escape character"),
            Some('u') => {
                let digits = escape.get(1..5).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                if digits.is_some_and(|code| char::from_u32(code).is_none()) {
                    return Err("found invalid Unicode character escape code");
                }
            }
            _ => {}
        }
        rest = chars.as_str();
    }
    Ok(())
}

/// Outside of brackets a tab may not stand between a `-`, a `?` or the start of a line and what
/// follows, when that could be a key. `before` is the text up to the node.
pub(super) fn check_tab(before: &str) -> Result<(), &'static str> {
    let trimmed = before.trim_end_matches([' ', '\t']);
    let blank = &before[trimmed.len()..];
    if blank.contains('\t') && (trimmed.is_empty() || trimmed.ends_with(['-', '?', '\n', '\r'])) {
        return Err("found character that cannot start any token");
    }
    Ok(())
}

/// Outside of brackets a key may be missing only after a `?`. `before` is the text up to where
/// the empty key was found.
pub(super) fn check_empty_key(before: &str) -> Result<(), &'static str> {
    if before.trim_end().ends_with('?') {
        return Ok(());
    }
    Err("did not find expected key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_json_alone_are_refused() {
        for raw in [r#""a\/b""#, r#""\\\/""#, r#""\uD834\uDD1E""#] {
            assert!(check_escapes(raw).is_err(), "{raw}");
        }
        for raw in [r#""a\\/b""#, r#""\n\t\u00e9""#, r#""a/b""#, r#""\""#, r#""\u12"#] {
            assert!(check_escapes(raw).is_ok(), "{raw}");
        }
    }
}
