// SPDX-License-Identifier: Apache-2.0
//! What holds of sysctl.d whatever is in it.

use nodeguard::sysctl_d::{
    Body, Explainer, File, Key, Loader, Moment, Place, Resolver, Sources, TunedSources, parse,
};
use proptest::prelude::*;

const LOADERS: [Loader; 3] = [Loader::Systemd, Loader::Procps, Loader::NewerProcps];

/// Lines that nearly say something about kernel.panic, and arbitrary bytes.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let likely = "[-; ]{0,2}(kernel|\\*|k\\{a,ernel\\}|\\[k\\]ernel)?[./]{0,2}(panic|pan\\*|pani[?]|\\[)?[ =]{0,3}[0-9x=\\\\\\]]{0,3}";
    let line = prop_oneof![
        4 => proptest::string::string_regex(likely).unwrap().prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b"\r"[..]), Just(&b"\0"[..])];
    proptest::collection::vec((line, end), 0..12)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [&line, end].concat()).collect())
}

fn file(path: &str, text: &[u8]) -> File {
    File { path: path.into(), link_to: None, body: Body::Text(text.to_vec()) }
}

/// `PROPTEST_CASES` is how many of each.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let default = ProptestConfig::default();
    let cases = if asked { default.cases } else { 2000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_line_that_is_named_holds_the_value(
        texts in proptest::collection::vec(text(), 1..4),
        key in "(kernel|vm)[./](panic|x)",
    ) {
        let key = Key::parse(&key).unwrap();
        let files: Vec<File> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| file(&format!("/etc/sysctl.d/{at}.conf"), text))
            .collect();
        let mut sources = Sources { directories: vec![(Place::Etc, files)], ..Sources::default() };
        sources.tuned = Some(TunedSources {
            profile: "x".into(),
            enabled: true,
            main: None,
            profiles: vec![file("/etc/tuned/x/tuned.conf", &texts[0])],
        });
        for loader in LOADERS {
            let got = Resolver::new(&sources, loader, Moment::Now).resolve(&key);
            let all = got.winner.iter().chain(got.shadowed.iter().map(|s| &s.assigned));
            for assigned in all {
                let at: usize = assigned.origin.file["/etc/sysctl.d/".len()..][..1].parse().unwrap();
                let line = assigned.origin.line.unwrap() as usize;
                let line = texts[at].split(|b| *b == b'\n').nth(line - 1).unwrap();
                let line = String::from_utf8_lossy(line);
                prop_assert!(line.contains(&assigned.value), "{line:?} {assigned:?}");
                prop_assert!(line.contains('='), "{line:?}");
            }
            prop_assert!(got.winner.is_none() || got.excluded.is_none());
        }
        Explainer::new(&sources).explain(&key);
    }

    #[test]
    fn a_key_survives_being_written_in_either_spelling(
        // No directory of the kernel's has a dot in its name.
        first in "[a-z0-9_]{1,3}",
        rest in proptest::collection::vec("[a-z0-9_.]{0,3}[a-z]", 1..4),
    ) {
        let path = format!("{first}/{}", rest.join("/"));
        let key = Key::parse(&path).unwrap();
        prop_assert_eq!(key.path(), &path);
        prop_assert_eq!(&Key::parse(&key.dotted()).unwrap(), &key);
        for loader in LOADERS {
            for spelling in [path.clone(), key.dotted()] {
                let settings = parse(format!("{spelling}=1").as_bytes(), loader);
                prop_assert_eq!(settings.len(), 1);
                prop_assert_eq!(&settings[0].path, &path);
            }
        }
    }
}
