// SPDX-License-Identifier: Apache-2.0
//! What is given to each parser, and what must hold of it whatever that is.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use nodeguard::config;
use nodeguard::controls::etcd_account::judge::account_db::{
    parse_group, parse_passwd, parse_shadow,
};
use nodeguard::controls::rke2_config::{Facts, Units, judge};
use nodeguard::controls::sysctl;
use nodeguard::controls::sysctl::judge::conf;
use nodeguard::model::{Origin, Role};
use nodeguard::render::settings;
use nodeguard::rke2::exec;
use nodeguard::rke2::unit::{self, UnitText};
use nodeguard::rke2::{
    DEFAULT_CONFIG, FileContent, Inputs, ProblemKind, SourceFile, config_path, env_file, explain,
    kubelet, resolve,
};
use nodeguard::sysctl_d::writers::{Kind, writes};
use nodeguard::sysctl_d::{Body, Explainer, File, Key, Place, Sources, misread, value};

pub struct Target {
    pub name: &'static str,
    /// Gives a number that stands for what the input showed.
    pub run: fn(&[u8]) -> u64,
    pub words: &'static [&'static str],
}

pub const TARGETS: [Target; 6] = [
    Target {
        name: "rke2-config",
        run: rke2_config,
        words: &[
            "profile: cis\n",
            "etcd-arg+: [a, b]\n",
            "data-dir: /x\n",
            "selinux: yes\n",
            "\n---\n",
            "\n...\n",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "!!binary ",
            "? ",
            "|-\n  ",
            ">\n ",
            "- ",
            "{a: b}",
            "%YAML 1.1\n",
            "0600",
            "1_0",
            ".inf",
            "~",
            "null",
            "\"\\x41\"",
            "\u{feff}",
            "protect-kernel-defaults=true",
            "kubelet-arg: ",
            FILE_BREAK,
            "d: /y\n",
            "  ",
            ": ",
        ],
    },
    Target {
        name: "rke2-yaml",
        run: rke2_yaml,
        words: &[
            "profile: cis\n",
            "\n\t",
            "\t",
            "# c",
            "#c",
            ": ",
            ":",
            "- ",
            "? ",
            "?",
            "[",
            "{",
            "}",
            "]",
            ", ",
            "\"",
            "'",
            "|\n  ",
            ">-\n  ",
            "|2\n",
            "&a ",
            "*a",
            "<<: ",
            "<<: {a: b}\n",
            "!!int ",
            "!!binary Y2lz",
            "! ",
            "!e!x ",
            "!<tag:yaml.org,2002:int> ",
            "%YAML 1.1\n---\n",
            "%TAG !e! tag:yaml.org,2002:\n---\n",
            "---\n",
            "...\n",
            "\r",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\\\n",
            "\\x41",
            "\\u00e9",
            ".1_0",
            "0b-1",
            "2001-01-01",
            "key: a",
            "value: b",
            "[? a]",
            "[a: b]",
            "{a, b}",
            "\"b\"#c",
            "~",
        ],
    },
    Target {
        name: "unit",
        run: unit_files,
        words: &[
            "[Service]\n",
            "ExecStart=/r server ",
            "ExecStart=\n",
            "Environment=A=1 B=2\n",
            "EnvironmentFile=-/etc/x\n",
            "UnsetEnvironment=A\n",
            "\\\n",
            "\\x41",
            "\\101",
            "\\u00e9",
            "${A}",
            "$A",
            "$$",
            "%n",
            "%N",
            "%%",
            "'",
            "\"",
            "# ",
            "; ",
            "A=1\n",
            FILE_BREAK,
            "--config=/c",
            "--profile",
            "[Manager]\nDefaultEnvironment=A=1\n",
        ],
    },
    Target {
        name: "accounts",
        run: accounts,
        words: &[
            "etcd:x:998:997:etcd user:/:/sbin/nologin\n",
            "etcd:!:19000::::::\n",
            "etcd:x:997:a,b\n",
            ":",
            "::",
            ",",
            "0",
            "4294967295",
            "4294967296",
            "-1",
            "+::::::\n",
            "!*",
            "$6$x$y",
            "etcd",
            "root",
            "\n\n",
            FILE_BREAK,
        ],
    },
    Target {
        name: "sysctl-d",
        run: sysctl_d,
        words: &[
            "kernel.panic=10\n",
            "-kernel.panic=0\n",
            "kernel/panic = 1\n",
            "-kernel.panic\n",
            "kernel.pan*=5\n",
            "{kernel,vm}.panic=1\n",
            "[[:alpha:]]*",
            "[!a-k]",
            "k?rnel.panic=7\n",
            "net.ipv4.conf.*.rp_filter=2\n",
            "net/ipv4/conf/eth0.1/rp_filter=1\n",
            "# ",
            "; ",
            "=",
            "\\",
            "\r\n",
            "..",
            "//",
            FILE_BREAK,
            "{",
            "}",
            ",",
            "{a,{b,c}}",
        ],
    },
    Target {
        name: "own-config",
        run: own_config,
        words: &[
            "poll-interval = \"5s\"\n",
            "attribution = true\n",
            "[sysctl.policy]\n",
            "kernel.panic = \"warn\"\n",
            "[sysctl.extra]\n",
            "vm.swappiness = 1\n",
            "[etcd-account]\n",
            "uid = 52034\n",
            "gid = 52034\n",
            "\"kernel.sem\" = '1 2'\n",
            "[[",
            "]]",
            "'''",
            "\"\"\"",
            "1e9",
            "0x7",
            "1979-05-27",
            "\\u001b",
            "\u{e9}",
            "{ a = 1 }",
        ],
    },
];

/// Between the files that one input stands for.
const FILE_BREAK: &str = "\n=====\n";

/// The files of an input: as many as are asked for, the last ones empty.
fn files<const N: usize>(input: &[u8]) -> [Vec<u8>; N] {
    let mut rest = input;
    std::array::from_fn(|_| {
        let at = rest.windows(FILE_BREAK.len()).position(|w| w == FILE_BREAK.as_bytes());
        let (file, behind) = match at {
            Some(at) => (&rest[..at], &rest[at + FILE_BREAK.len()..]),
            None => (rest, &[][..]),
        };
        rest = behind;
        file.to_vec()
    })
}

fn shape(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn lines(content: &[u8]) -> u32 {
    // YAML counts a lone CR and the separators of Unicode as ends of lines, too.
    let units = |unit: fn([u8; 2]) -> u16| -> String {
        let units = content.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or('?')).collect()
    };
    let text = match content {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => String::from_utf8_lossy(content).into_owned(),
    };
    let ends =
        text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
    u32::try_from(ends.count() + 1).unwrap_or(u32::MAX)
}

fn within(origin: &Origin, path: &str, content: &[u8]) {
    if let (true, Some(line)) = (origin.file == path, origin.line) {
        let lines = lines(content);
        assert!((1..=lines).contains(&line), "{origin} of {lines} lines");
    }
}

fn rke2_config(input: &[u8]) -> u64 {
    let [base, drop_in, env] = files::<3>(input);
    let drop_in_path = format!("{DEFAULT_CONFIG}.d/x.yaml");
    let file = |path: &str, content: &[u8]| SourceFile {
        path: path.into(),
        content: FileContent::Bytes(content.to_vec()),
    };
    let mut kinds = Vec::new();
    for role in [Role::Server, Role::Agent] {
        let mut inputs = Inputs {
            base: file(DEFAULT_CONFIG, &base),
            drop_ins: vec![file(&drop_in_path, &drop_in)],
            environment: env_file::parse("/e", &env),
            ..Inputs::none(role)
        };
        let config = resolve(&inputs);
        for problem in &config.problems {
            within(&problem.origin, DEFAULT_CONFIG, &base);
            within(&problem.origin, &drop_in_path, &drop_in);
            assert!(!problem.words.is_empty() && !problem.expected.is_empty(), "{problem:?}");
        }
        for value in explain::resolved(&config).iter().chain(&explain::others(&inputs)) {
            if let Some(origin) = &value.origin {
                within(origin, DEFAULT_CONFIG, &base);
                within(origin, &drop_in_path, &drop_in);
            }
            kinds.push(shape((&value.flag, value.origin.is_some(), value.value.is_some())));
        }
        // The same file as one of the kubelet's, and what is handed to it.
        let kubelet = kubelet::read(None, std::slice::from_ref(&inputs.base), inputs.release);
        for problem in &kubelet.problems {
            within(&problem.origin, DEFAULT_CONFIG, &base);
        }
        kinds.push(shape((kubelet.protect.is_some(), kubelet.problems.len().min(2))));
        let given = kubelet::arguments(&config.kubelet_args, role == Role::Server);
        kinds.push(shape((given.protect.is_some(), given.problems.len().min(2))));
        if let Some(meant) = &config.meant {
            within(&meant.origin, DEFAULT_CONFIG, &base);
            within(&meant.origin, &drop_in_path, &drop_in);
        }
        let units = Units::default();
        let facts =
            Facts { config: &config, version: None, role, units, joined: false, place: None };
        for planned in judge(&facts) {
            let finding = planned.finding;
            assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
            kinds.push(shape((finding.code.as_str(), finding.severity.as_str())));
        }
        // Whatever comes before it, the last drop-in that can be read wins.
        inputs.drop_ins.push(file(&format!("{DEFAULT_CONFIG}.d/z.yaml"), b"profile: won\n"));
        let won = resolve(&inputs).profile.map(|profile| profile.value);
        assert_eq!(won.as_deref(), Some("won"));
    }
    kinds.sort_unstable();
    kinds.dedup();
    shape(kinds)
}

/// One file alone, and no judgement: many times as fast as `rke2_config`.
fn rke2_yaml(input: &[u8]) -> u64 {
    let content = FileContent::Bytes(input.to_vec());
    let inputs = Inputs {
        base: SourceFile { path: DEFAULT_CONFIG.into(), content },
        ..Inputs::none(Role::Server)
    };
    let config = resolve(&inputs);
    let mut kinds = Vec::new();
    for problem in &config.problems {
        within(&problem.origin, DEFAULT_CONFIG, input);
        if problem.kind == ProblemKind::InvalidYaml {
            assert!(problem.words.starts_with("yaml: "), "{problem:?}");
            assert!(!problem.words.contains('\n'), "{problem:?}");
        }
        // Where it stands is no other kind.
        kinds.push(shape(problem.words.replace(|c: char| c.is_ascii_digit(), "")));
    }
    for value in explain::resolved(&config) {
        if let Some(origin) = &value.origin {
            within(origin, DEFAULT_CONFIG, input);
        }
        kinds.push(shape((&value.flag, value.origin.is_some(), value.value.is_some())));
    }
    kinds.sort_unstable();
    kinds.dedup();
    shape(kinds)
}

fn unit_files(input: &[u8]) -> u64 {
    let [unit_file, drop_in, env] = files::<3>(input);
    let texts = [
        UnitText { path: "/u".into(), content: unit_file.clone() },
        UnitText { path: "/d".into(), content: drop_in.clone() },
    ];
    let service = unit::parse("rke2-server.service", &texts);
    let mut environment = unit::manager(&texts).defaults;
    environment.extend(service.environment.clone());
    environment.extend(env_file::parse("/e", &env));
    let asked = Origin::file("asked");
    let assignments = String::from_utf8_lossy(&env);
    for variable in unit::assignments(assignments.split('\0'), &asked) {
        assert!(!variable.name.is_empty() && !variable.name.contains('='), "{variable:?}");
    }
    unit::unset(&mut environment, &service.unset);
    for variable in &environment {
        for (path, content) in [("/u", &unit_file), ("/d", &drop_in), ("/e", &env)] {
            within(&variable.origin, path, content);
        }
        assert!(!variable.name.is_empty() && !variable.name.contains('='), "{variable:?}");
    }
    let arguments = exec::command_line(&service.arguments, &environment).words;
    let path = config_path(&arguments, service.exec_start.as_ref(), &environment);
    let inputs = Inputs { path, arguments, environment, ..Inputs::none(Role::Server) };
    let config = resolve(&inputs);
    assert_eq!(explain::arguments(&inputs).len(), inputs.arguments.len());
    shape((
        service.binary.is_some(),
        service.arguments.len().min(8),
        service.environment_files.len().min(4),
        service.unset.len().min(3),
        inputs.environment.len().min(8),
        config.problems.iter().map(|p| format!("{:?}", p.kind)).collect::<Vec<_>>(),
        config.profile.is_some(),
        inputs.path.file().is_some(),
    ))
}

fn accounts(input: &[u8]) -> u64 {
    let [passwd, group, shadow] = files::<3>(input);
    // A line of its own behind whatever comes before is read.
    let with = |content: &[u8], line: &str| [content, b"\n", line.as_bytes()].concat();
    let users = parse_passwd(&with(&passwd, "proof:x:7:8:::"));
    assert!(users.user("proof").is_some());
    assert!(users.users_with_uid(7).any(|user| user.gid == 8) || users.user("proof").is_some());
    let groups = parse_group(&with(&group, "proof:x:8:"));
    assert!(groups.group("proof").is_some());
    let shadows = parse_shadow(&with(&shadow, "proof:!:::::::"));
    assert!(shadows.shadow("proof").is_some());
    let etcd = users.user("etcd");
    if let Some(user) = etcd {
        assert!(user.line <= lines(&passwd), "line {}", user.line);
    }
    shape((
        etcd.map(|user| (user.uid == 0, user.gid == 0, user.shadowed, user.shell.is_empty())),
        users.users_named("etcd").count().min(3),
        groups.groups_named("etcd").count().min(3),
        groups.group("etcd").map(|group| group.gid == 0),
        shadows.shadow("etcd").map(|entry| format!("{:?}", entry.password)),
    ))
}

fn sysctl_d(input: &[u8]) -> u64 {
    let texts = files::<3>(input);
    let names = ["50-a.conf", "60-b.conf", "50-a.conf"];
    let places = [Place::Etc, Place::Etc, Place::UsrLib];
    let file = |at: usize| File {
        path: format!("{}/{}", places[at].path(), names[at]),
        link_to: None,
        body: Body::Text(texts[at].clone()),
    };
    let sources = Sources {
        directories: vec![(Place::Etc, vec![file(0), file(1)]), (Place::UsrLib, vec![file(2)])],
        ..Sources::default()
    };
    let explainer = Explainer::new(&sources);
    let mut kinds = Vec::new();
    for key in ["kernel.panic", "net/ipv4/conf/eth0.1/rp_filter"] {
        let Ok(key) = Key::parse(key) else { panic!("{key} is a key") };
        let told = explainer.explain(&key);
        if let Some(winner) = &told.next_boot {
            let at = (0..3).find(|&at| file(at).path == winner.origin.file);
            let content = &texts[at.unwrap_or_else(|| panic!("{winner:?}"))];
            within(&winner.origin, &winner.origin.file, content);
        }
        kinds.push((
            told.next_boot.map(|winner| (winner.pattern.is_some(), winner.value.len().min(2))),
            told.excluded.is_some(),
            told.shadowed.len().min(4),
        ));
    }
    let keys = [Key::parse("kernel.panic"), Key::parse("vm.overcommit_memory")].map(Result::unwrap);
    for text in &texts {
        for (at, misread) in misread(text, &keys) {
            within(&Origin::at("x", misread.line), "x", text);
            kinds.push((Some((at == 0, misread.text.len().min(2))), false, 0));
        }
        for kind in [Kind::Tmpfiles, Kind::Udev, Kind::Commands] {
            let writes = writes(kind, text, &keys[0]);
            kinds.push((writes.first().map(|w| (w.value.is_some(), 0)), true, writes.len().min(4)));
        }
    }
    // Mending ends, keeps what is right, and what was wanted then holds.
    if let Ok(text) = std::str::from_utf8(&texts[0]) {
        let wanted = [("kernel.panic", "10"), ("vm.panic_on_oom", "0")];
        let mended = conf::mend(text, wanted, "# added");
        assert_eq!(conf::mend(&mended, wanted, "# added"), mended, "from {text:?}");
        for (key, value) in wanted {
            let entries = conf::parse(&mended);
            let last = entries.iter().rev().find(|entry| entry.key == key);
            let sets = last.is_some_and(|entry| value::sets(&entry.value, value, false));
            assert!(sets, "{key} of {mended:?} from {text:?}");
        }
    }
    shape(kinds)
}

fn own_config(input: &[u8]) -> u64 {
    let source =
        |path: &str, content: Vec<u8>| config::Source { path: path.into(), content: Ok(content) };
    match config::resolve(&[source("f", input.to_vec())], &sysctl::FIXED) {
        Ok(read) => {
            let printed = settings::text(&[], &read);
            let again =
                config::resolve(&[source("p", printed.clone().into_bytes())], &sysctl::FIXED)
                    .unwrap_or_else(|problems| panic!("{printed}\n{problems:?}"));
            assert_eq!(settings::text(&[], &again).lines().count(), printed.lines().count());
            shape((
                read.sysctl.extra.len().min(4),
                read.sysctl.policy.len().min(4),
                read.attribution.value,
                read.etcd_account.uid.is_some(),
                read.etcd_account.gid.is_some(),
            ))
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let mut kinds = Vec::new();
            for problem in &problems {
                within(&problem.origin, "f", input);
                assert!(!problem.message.contains(|c: char| c.is_control()), "{problem:?}");
                // Without what is quoted from the file.
                let words = problem.message.split('`').step_by(2);
                kinds.push(
                    words
                        .flat_map(str::chars)
                        .filter(|c| !c.is_numeric())
                        .take(60)
                        .collect::<String>(),
                );
            }
            kinds.sort();
            kinds.dedup();
            shape(kinds)
        }
    }
}
