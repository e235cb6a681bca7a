// SPDX-License-Identifier: Apache-2.0
//! Which profile which RKE2 takes, at every boundary, and how a version is read.

use nodeguard::rke2::parse_version;
use nodeguard::rke2::profile::{Verdict, cis_benchmarks, judge, known};

const INVALID: &str = "invalid value provided for --profile flag";

fn version(text: &str) -> semver::Version {
    parse_version(text).expect(text)
}

#[test]
fn each_rke2_knows_the_profiles_of_its_source() {
    let generations: &[(&[&str], &[&str])] = &[
        (
            &["cis-1.5"],
            &[
                "v1.18.8+rke2r1",
                "v1.18.20+rke2r1",
                "v1.19.5+rke2r1",
                "v1.19.16+rke2r1",
                "v1.20.4+rke2r1",
            ],
        ),
        (
            &["cis-1.5", "cis-1.6"],
            &["v1.20.5+rke2r1", "v1.20.15+rke2r2", "v1.23.17+rke2r1", "v1.24.17+rke2r1"],
        ),
        (
            &["cis-1.23"],
            &[
                "v1.25.0+rke2r1",
                "v1.25.14+rke2r1",
                "v1.26.0+rke2r1",
                "v1.26.9+rke2r1",
                "v1.27.1+rke2r1",
                "v1.27.6+rke2r1",
                "v1.28.1+rke2r1",
            ],
        ),
        (
            &["cis", "cis-1.23"],
            &[
                "v1.25.15+rke2r1",
                "v1.25.16+rke2r1",
                "v1.26.10+rke2r1",
                "v1.26.15+rke2r1",
                "v1.27.7+rke2r1",
                "v1.27.16+rke2r1",
                "v1.28.2+rke2r1",
                "v1.28.15+rke2r1",
                "v1.29.0+rke2r1",
                "v1.29.15+rke2r1",
            ],
        ),
        (
            &["cis"],
            &[
                "v1.30.0+rke2r1",
                "v1.30.13+rke2r1",
                "v1.31.0+rke2r1",
                "v1.31.9+rke2r1",
                "v1.32.0+rke2r1",
                "v1.32.5+rke2r1",
                "v1.33.0+rke2r1",
                "v1.33.1+rke2r1",
            ],
        ),
        (
            &["cis", "etcd"],
            &[
                "v1.30.14+rke2r1",
                "v1.31.10+rke2r1",
                "v1.32.6+rke2r1",
                "v1.33.2+rke2r1",
                "v1.34.0+rke2r1",
                "v1.34.1-rc1+rke2r1",
                "v1.36.4+rke2r1",
                "v1.99.0+rke2r1",
                "v2.0.0+rke2r1",
            ],
        ),
    ];
    let every = ["cis-1.5", "cis-1.6", "cis-1.23", "cis", "etcd", "cis-1.7", "CIS", "cis ", ""];
    for (profiles, versions) in generations {
        for text in *versions {
            let version = version(text);
            assert_eq!(known(Some(&version)), *profiles, "{text}");
            for profile in every {
                let taken = !matches!(judge(Some(&version), profile), Verdict::Invalid { .. });
                assert_eq!(taken, profiles.contains(&profile), "{text} {profile:?}");
            }
        }
    }
}

#[test]
fn without_a_version_the_newest_rule_counts() {
    assert_eq!(known(None), ["cis", "etcd"]);
    assert_eq!(judge(None, "cis"), Verdict::Accepted);
    assert!(matches!(judge(None, "cis-1.23"), Verdict::Invalid { words: INVALID, .. }));
}

#[test]
fn the_versioned_name_is_deprecated_first_and_then_refused_in_words_of_its_own() {
    let on = |text: &str| judge(Some(&version(text)), "cis-1.23");
    assert_eq!(on("v1.28.1+rke2r1"), Verdict::Accepted);
    assert_eq!(
        on("v1.29.3+rke2r1"),
        Verdict::Deprecated {
            words: "cis-1.23 profile is deprecated and will be removed in v1.29. Please use cis \
                    instead.",
            instead: "cis",
        }
    );
    assert_eq!(
        on("v1.30.2+rke2r1"),
        Verdict::Invalid {
            words: "cis-1.23 profile is deprecated. Please use 'cis' instead.",
            known: &["cis"],
        }
    );
    assert_eq!(on("v1.34.1+rke2r1"), Verdict::Invalid { words: INVALID, known: &["cis", "etcd"] });
}

#[test]
fn each_minor_has_its_benchmarks() {
    for (text, expected) in [
        ("v1.18.20+rke2r1", &["1.5"][..]),
        ("v1.19.16+rke2r1", &["1.6"]),
        ("v1.22.17+rke2r1", &["1.6"]),
        ("v1.23.17+rke2r1", &["1.23"]),
        ("v1.24.17+rke2r1", &["1.24"]),
        ("v1.25.16+rke2r1", &["1.7"]),
        ("v1.26.15+rke2r1", &["1.7"]),
        ("v1.27.16+rke2r1", &["1.7", "1.9"]),
        ("v1.28.15+rke2r1", &["1.7", "1.9", "1.10"]),
        ("v1.29.15+rke2r1", &["1.8", "1.9", "1.10", "1.11"]),
        ("v1.31.14+rke2r1", &["1.8", "1.10", "1.11"]),
        ("v1.32.9+rke2r1", &["1.8", "1.11"]),
        ("v1.33.5+rke2r1", &["1.8", "1.12"]),
        ("v1.36.4+rke2r1", &["1.8", "1.12"]),
    ] {
        assert_eq!(cis_benchmarks(&version(text)), expected, "{text}");
    }
}

#[test]
fn a_version_is_read_from_what_rke2_prints() {
    for (output, expected) in [
        (
            "rke2 version v1.34.1+rke2r1 (abc123)\ngo version go1.24.6 X:boringcrypto\n",
            "1.34.1+rke2r1",
        ),
        ("rke2 version v1.36.0-rc2+rke2r1 (abc)", "1.36.0-rc2+rke2r1"),
        ("rke2-custom version v1.30.14+rke2r2 (x)\r\n", "1.30.14+rke2r2"),
        ("v1.34.1+rke2r1\n", "1.34.1+rke2r1"),
        ("1.34.1", "1.34.1"),
        ("warning: something\nrke2 version v1.34.1+rke2r1 (x)\n", "1.34.1+rke2r1"),
    ] {
        assert_eq!(parse_version(output).map(|v| v.to_string()).as_deref(), Ok(expected));
    }
}

#[test]
fn what_is_no_version_says_so_and_shows_what_was_found() {
    for (output, expected) in [
        ("", "no version in \"\""),
        ("go version go1.24.6\n", "no version in \"go version go1.24.6\""),
        ("command not found\n", "no version in \"command not found\""),
        ("rke2 version dev (HEAD)\n", "`dev` is no version"),
        ("rke2 version v1.34\n", "`v1.34` is no version"),
    ] {
        let error = parse_version(output).expect_err(output).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("v1.34.1+rke2r1"), "{error}");
    }
    let long = "x".repeat(100_000);
    assert!(parse_version(&long).expect_err("no version").to_string().len() < 300);
}
