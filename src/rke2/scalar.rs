// SPDX-License-Identifier: Apache-2.0
//! Words of RKE2's command line as Go's parsers read them.

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_flag_takes_go_s_words_and_no_others() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(word), Some(true), "{word}");
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(word), Some(false), "{word}");
        }
        for word in ["yes", "no", "on", "", "tRue", " true", "2"] {
            assert_eq!(parse_bool(word), None, "{word}");
        }
    }
}
