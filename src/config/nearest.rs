// SPDX-License-Identifier: Apache-2.0
//! What somebody probably meant.

/// The candidate that is most like `word`, if one is so much like it that it was probably meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Who mistypes, mistypes a letter in three at most.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_different_word_is_not() {
        let keys = ["poll-interval", "attribution", "sysctl.policy", "uid", "gid"];
        for (word, meant) in [
            ("poll-intervall", Some("poll-interval")),
            ("poll_interval", Some("poll-interval")),
            ("atribution", Some("attribution")),
            ("sysctl.polciy", Some("sysctl.policy")),
            ("uidd", Some("uid")),
            ("interval", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
