// SPDX-License-Identifier: Apache-2.0
//! Files that nobody would write.

use nodeguard::config::{self, Source};
use nodeguard::controls::sysctl::FIXED;
use nodeguard::render::settings;
use proptest::prelude::*;

use crate::{file, values};

/// Whatever the bytes are: settings that survive being printed and read again, or problems with
/// lines that are in the file.
fn holds(bytes: Vec<u8>) {
    let lines = String::from_utf8_lossy(&bytes).lines().count().max(1);
    let source = Source { path: "f".into(), content: Ok(bytes) };
    let first = config::fallback(std::slice::from_ref(&source));
    assert!(!first.mode.value.only_reports() || first.unclear.is_none(), "{first:?}");
    match config::resolve(&[source], &FIXED) {
        Ok(settings) => {
            let printed = settings::text(&[], &settings);
            let again = config::resolve(&[file("printed", &printed)], &FIXED);
            let again = again.unwrap_or_else(|problems| panic!("{printed}\n{problems:#?}"));
            assert_eq!(values(&again), values(&settings), "{printed}");
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert_eq!(problem.origin.file, "f");
                let line = problem.origin.line.expect("a line") as usize;
                assert!((1..=lines).contains(&line), "{problem:?}, {lines} lines");
                assert!(!problem.message.contains(|c: char| c.is_control()), "{problem:?}");
            }
        }
    }
}

/// Pieces of which files are made, so that many are nearly right.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "poll-interval",
        "attribution",
        "sysctl",
        "policy",
        "extra",
        "etcd-account",
        "uid",
        "gid",
        "kernel.panic",
        "vm.max_map_count",
        "\"kernel.sem\"",
        "net.ipv4.x",
        "vm.*",
        "\"5s\"",
        "'2min'",
        "\"warn\"",
        "'ignore'",
        "true",
        "1",
        "-0x7",
        "0",
        "1.5",
        "1e9",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        " = ",
        ".",
        ",",
        "\n",
        "\r\n",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "#",
        "\\",
        "\\u001b",
        "\t",
        " ",
        "é",
        "\u{0}",
        "\u{feff}",
        "nan",
        "1979-05-27",
    ]);
    let line = prop::sample::select(vec![
        "poll-interval = \"7s\"\n",
        "attribution = true\n",
        "[sysctl.policy]\n",
        "[sysctl]\n",
        "[sysctl.extra]\n",
        "[etcd-account]\n",
        "uid = 5\n",
        "kernel.panic = \"warn\"\n",
        "vm.swappiness = 1\n",
        "'kernel.sem' = '1 \t2'\n",
        "extra.vm.x = 'a\"b\\\\'\n",
    ]);
    let piece = prop_oneof![
        4 => line.prop_map(|line| line.as_bytes().to_vec()),
        3 => fixed.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A right file, with anything as its values.
fn values_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    ("[a-z_]{1,12}", "\\PC{0,24}", any::<i64>(), any::<u32>()).prop_map(|(key, text, n, id)| {
        format!(
            "sysctl.extra.vm.{key} = '''{text}'''\nsysctl.extra.fs.{key} = {n}\n\
             etcd-account.uid = {id}\n"
        )
        .into_bytes()
    })
}

/// `PROPTEST_CASES` is how many of each.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 4000 }, ..default }
}

#[test]
fn a_value_that_would_mislead_on_a_terminal_is_printed_so_that_it_can_be_read_again() {
    let file = "[sysctl.extra]\n'vm.a' = 'x \u{202e}y\u{2029}'\n'vm.b' = 'größe\t\\ \"'\n";
    assert!(config::resolve(&[crate::file("f", file)], &FIXED).is_ok());
    holds(file.as_bytes().to_vec());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_file_is_settings_or_problems_with_lines_in_it(bytes in pieces()) {
        holds(bytes);
    }

    #[test]
    fn any_value_is_taken_as_it_is_or_is_a_problem(bytes in values_of_any_kind()) {
        holds(bytes);
    }

    #[test]
    fn any_bytes_at_all_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        holds(bytes);
    }
}
