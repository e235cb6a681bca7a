// SPDX-License-Identifier: Apache-2.0
//! What the kernel lets a program be started with, and the words of a command line made of a unit's
//! within that: a variable that stands in two thousand arguments is as long two thousand times.

use std::collections::HashMap;

use super::Variable;
use super::env_file::is_name;
use super::unit::{MAX_ITEMS, MAX_TOGETHER, words};

/// One argument or one variable, with its end (`MAX_ARG_STRLEN`). It never changes.
pub const MAX_STRING: usize = 128 << 10;

/// As [`MAX_TOGETHER`], however far somebody raised the limit of the stack.
const MAX_EVER: usize = 6 << 20;

/// A command line with its variables in their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// As many as are together no longer than [`MAX_TOGETHER`].
    pub words: Vec<String>,
    /// What the kernel says to all of it, and to the variables beside it.
    pub fits: Fits,
}

/// Whether a program can be started with its arguments and its environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fits {
    #[default]
    Yes,
    /// Only where the unit or the manager raises the limit of the stack.
    Perhaps,
    /// `Argument list too long`, whatever is set.
    Never,
}

/// What arguments and environment take together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    together: usize,
    longest: usize,
}

impl Sum {
    fn add(&mut self, string: usize) {
        let with_end = string.saturating_add(1);
        // The kernel counts a pointer for each as well.
        let cost = with_end.saturating_add(size_of::<usize>());
        self.together = self.together.saturating_add(cost);
        self.longest = self.longest.max(with_end);
    }

    fn fits(self) -> Fits {
        if self.longest > MAX_STRING || self.together > MAX_EVER {
            Fits::Never
        } else if self.together > MAX_TOGETHER {
            Fits::Perhaps
        } else {
            Fits::Yes
        }
    }
}

/// The words of a command line as systemd hands them on: `${NAME}` within a word becomes the
/// variable's value, `$NAME` as a whole word becomes its value's words, `$$` a dollar. What is not
/// set becomes nothing. `arguments` is what [`super::unit::parse`] gave.
pub fn command_line(arguments: &[String], environment: &[Variable]) -> CommandLine {
    // Where two have a name, the later one counts.
    let values: HashMap<&str, &str> =
        environment.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
    let mut sum = Sum::default();
    for (name, value) in &values {
        sum.add(name.len() + 1 + value.len());
    }
    // Taken apart once, however often it is asked for.
    let mut taken_apart: HashMap<&str, Vec<String>> = HashMap::new();
    let mut out = CommandLine::default();
    let mut kept = 0;
    let mut count = 0;
    let mut keep = |word: String, length: usize, sum: &mut Sum| {
        sum.add(length);
        count += 1;
        kept += length;
        if kept <= MAX_TOGETHER && word.len() == length {
            out.words.push(word);
        }
        // Nothing that comes makes it any better.
        count < MAX_ITEMS && sum.fits() != Fits::Never
    };
    'all: for argument in arguments {
        match argument.strip_prefix('$') {
            Some(name) if is_name(name) => {
                let value = values.get(name).copied().unwrap_or_default();
                for word in taken_apart.entry(name).or_insert_with(|| words(value)) {
                    if !keep(word.clone(), word.len(), &mut sum) {
                        break 'all;
                    }
                }
            }
            _ => {
                let (word, length) = within(argument, &values);
                if !keep(word, length, &mut sum) {
                    break;
                }
            }
        }
    }
    out.fits = sum.fits();
    out
}

/// A word with its variables, as far as it is no longer than the kernel takes, and how long all of
/// it is.
fn within(argument: &str, values: &HashMap<&str, &str>) -> (String, usize) {
    let mut out = String::with_capacity(argument.len());
    let mut length = 0usize;
    let mut push = |piece: &str| {
        length = length.saturating_add(piece.len());
        if length <= MAX_STRING {
            out.push_str(piece);
        }
    };
    let mut rest = argument;
    while let Some((before, after)) = rest.split_once('$') {
        push(before);
        let name = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        rest = match name {
            Some((name, tail)) if is_name(name) => {
                push(values.get(name).copied().unwrap_or_default());
                tail
            }
            _ => {
                push("$");
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    push(rest);
    (out, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;

    fn set(name: &str, length: usize) -> Variable {
        let (name, value) = (name.into(), "x".repeat(length));
        Variable { name, value, origin: Origin::file("e") }
    }

    fn fits(arguments: &[&str], environment: &[Variable]) -> (Fits, usize) {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let line = command_line(&arguments, environment);
        (line.fits, line.words.iter().map(String::len).sum())
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_not_made() {
        let many = vec!["--x=${A}"; 2000];
        let whole = vec!["$A"; 2000];
        for (arguments, length, expected) in [
            (&many[..], 10, Fits::Yes),
            (&many, 1100, Fits::Perhaps),
            (&many, 3300, Fits::Never),
            (&many, 512 << 10, Fits::Never),
            (&whole, 1100, Fits::Perhaps),
            (&whole, 512 << 10, Fits::Never),
            // `--x=`, the value, and the end.
            (&many[..1], MAX_STRING - 4, Fits::Never),
            (&many[..1], MAX_STRING - 5, Fits::Yes),
            (&["${A}${A}"], MAX_STRING / 2, Fits::Never),
            // Nothing of it is in the arguments.
            (&["x"], MAX_STRING, Fits::Never),
        ] {
            let (got, kept) = fits(arguments, &[set("A", length)]);
            assert_eq!(got, expected, "{} of {length}", arguments.len());
            assert!(kept <= MAX_TOGETHER, "{kept}");
        }
    }

    #[test]
    fn a_variable_of_blanks_is_taken_apart_once() {
        let began = std::time::Instant::now();
        let blanks = Variable { value: " ".repeat(MAX_STRING - 8), ..set("A", 0) };
        assert_eq!(fits(&vec!["$A"; 4096], &[blanks]), (Fits::Yes, 0));
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[test]
    fn many_variables_are_no_longer_than_one() {
        let environment: Vec<_> = (0..40).map(|n| set(&format!("V{n}"), 100 << 10)).collect();
        assert_eq!(fits(&["x"], &environment).0, Fits::Perhaps);
        // Set again it is not there twice.
        let again: Vec<_> = (0..40).map(|_| set("V", 100 << 10)).collect();
        assert_eq!(fits(&["x"], &again).0, Fits::Yes);
    }
}
