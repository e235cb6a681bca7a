// SPDX-License-Identifier: Apache-2.0
//! What reaches a terminal. Values come from files of sysctl.d, the kernel, account databases and
//! names of files: whoever writes those must not write to root's terminal. JSON keeps them as they
//! are.

use crate::model::escaped;

/// For one line: every control character escaped, line breaks and marks of direction too.
pub fn line(text: &str) -> String {
    escaped(text)
}

/// For words of ours that may have several lines, such as a remedy with a command a line: every
/// other control character escaped. Lines after the first begin with `indent`, so that they cannot
/// be taken for lines of another kind.
pub fn lines(text: &str, indent: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join(&format!("\n{indent}"))
}

/// For a place that has one line only: `one; two`.
pub fn joined(text: &str) -> String {
    line(&text.replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_breaks_between_lines_survive() {
        let hostile = "a\u{1b}[2J\r\nb\u{9b}\u{7f}\tc";
        assert_eq!(line(hostile), r"a\u{1b}[2J\r\nb\u{9b}\u{7f}\tc");
        assert_eq!(lines(hostile, "  "), "a\\u{1b}[2J\\r\n  b\\u{9b}\\u{7f}\\tc");
        assert_eq!(joined("one\ntwo\u{1b}"), r"one; two\u{1b}");
        assert_eq!(lines("one", "  "), "one");
        assert_eq!(line("ok \u{202e}yb deganam\u{2069}"), r"ok \u{202e}yb deganam\u{2069}");
        assert_eq!(line("größe, גודל"), "größe, גודל");
    }
}
