// SPDX-License-Identifier: Apache-2.0
//! Environment files as systemd reads them (`EnvironmentFile=` in systemd.exec).
//!
//! `KEY=value` a line; `#` and `;` begin a comment line; a backslash at the end of a line joins
//! the next; single and double quotes may span lines; what is no assignment is ignored. No
//! variable is expanded.

use super::Variable;
use crate::model::Origin;

/// The largest environment file that is read, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// The most variables of one file.
const MAX_VARIABLES: usize = 4096;

/// Where in a line the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

/// The variables of an environment file, in order; `path` is shown as their origin. Of a file
/// beyond [`MAX_SIZE`] nothing is read.
pub fn parse(path: &str, content: &[u8]) -> Vec<Variable> {
    if content.len() > MAX_SIZE {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(content);
    let mut reader = Reader::new(path);
    for c in text.chars() {
        reader.feed(c);
    }
    // The end of the file ends the last line.
    reader.finish();
    reader.found
}

struct Reader<'a> {
    path: &'a str,
    state: State,
    line: u32,
    /// The line of the key.
    start: u32,
    key: String,
    value: String,
    /// How much of the value stays when blanks at its end are cut: quoted blanks do.
    kept: usize,
    found: Vec<Variable>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a str) -> Self {
        Self {
            path,
            state: State::BeforeKey,
            line: 1,
            start: 1,
            key: String::new(),
            value: String::new(),
            kept: 0,
            found: Vec::new(),
        }
    }

    fn feed(&mut self, c: char) {
        let newline = c == '\n' || c == '\r';
        let blank = c == ' ' || c == '\t';
        self.state = match self.state {
            State::BeforeKey if c == '#' || c == ';' => State::Comment,
            State::BeforeKey if newline || blank => State::BeforeKey,
            State::BeforeKey => {
                self.start = self.line;
                self.key.push(c);
                State::Key
            }
            State::Key if newline => {
                self.key.clear();
                State::BeforeKey
            }
            State::Key if c == '=' => State::BeforeValue,
            State::Key => {
                self.key.push(c);
                State::Key
            }
            State::BeforeValue | State::Value if newline => {
                self.store();
                State::BeforeKey
            }
            State::BeforeValue if blank => State::BeforeValue,
            State::BeforeValue if c == '\'' => State::SingleQuoted,
            State::BeforeValue if c == '"' => State::DoubleQuoted,
            State::BeforeValue | State::Value if c == '\\' => State::ValueEscape,
            State::BeforeValue => {
                self.keep(c);
                State::Value
            }
            State::Value => {
                self.value.push(c);
                if !blank {
                    self.kept = self.value.len();
                }
                State::Value
            }
            State::ValueEscape => {
                if !newline {
                    self.keep(c);
                }
                State::Value
            }
            // A second quoted piece right behind the first belongs to the value as well.
            State::SingleQuoted if c == '\'' => State::BeforeValue,
            State::SingleQuoted => {
                self.keep(c);
                State::SingleQuoted
            }
            State::DoubleQuoted if c == '"' => State::BeforeValue,
            State::DoubleQuoted if c == '\\' => State::DoubleQuotedEscape,
            State::DoubleQuoted => {
                self.keep(c);
                State::DoubleQuoted
            }
            State::DoubleQuotedEscape => {
                // As in a shell: a backslash stays before what needs none.
                if !matches!(c, '"' | '\\' | '`' | '$' | '\n') {
                    self.keep('\\');
                }
                if c != '\n' {
                    self.keep(c);
                }
                State::DoubleQuoted
            }
            State::Comment if c == '\\' => State::CommentEscape,
            State::Comment if newline => State::BeforeKey,
            State::Comment => State::Comment,
            // Since systemd 254 a comment ends with its line; before, a backslash carried it on.
            State::CommentEscape if newline => State::BeforeKey,
            State::CommentEscape => State::Comment,
        };
        if c == '\n' {
            self.line = self.line.saturating_add(1);
        }
    }

    fn keep(&mut self, c: char) {
        self.value.push(c);
        self.kept = self.value.len();
    }

    fn finish(&mut self) {
        if !matches!(
            self.state,
            State::BeforeKey | State::Key | State::Comment | State::CommentEscape
        ) {
            self.store();
        }
    }

    fn store(&mut self) {
        self.value.truncate(self.kept);
        self.kept = 0;
        let value = std::mem::take(&mut self.value);
        let key = std::mem::take(&mut self.key);
        let name = key.trim_end();
        if is_name(name) && !value.contains('\0') && self.found.len() < MAX_VARIABLES {
            let origin = Origin::at(self.path, self.start);
            self.found.push(Variable { name: name.to_owned(), value, origin });
        }
    }
}

/// Whether systemd takes it for the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit())
}
