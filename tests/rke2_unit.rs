// SPDX-License-Identifier: Apache-2.0
//! How a unit starts RKE2: its files and its environment files, as systemd reads them.

use nodeguard::model::Origin;
use nodeguard::rke2::exec;
use nodeguard::rke2::unit::{self, UnitText};
use nodeguard::rke2::{Variable, env_file};

fn text(path: &str, content: &str) -> UnitText {
    UnitText { path: path.into(), content: content.into() }
}

fn service(content: &str) -> unit::Service {
    unit::parse("rke2-server.service", &[text("/u", content)])
}

fn pairs(variables: &[Variable]) -> Vec<(&str, &str)> {
    variables.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect()
}

#[test]
fn rke2s_own_unit_gives_its_command_and_its_environment_files() {
    let found = service(
        "[Unit]\nDescription=x\nExecStart=/not/here\n\n[Install]\nWantedBy=multi-user.target\n\n\
         [Service]\nType=notify\nEnvironmentFile=-/etc/default/%N\n\
         EnvironmentFile=-/etc/sysconfig/%N\n\
         EnvironmentFile=-/usr/local/lib/systemd/system/%N.env\nKillMode=process\n\
         ExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/rke2 server\n\
         ExecStopPost=-/bin/sh -c \"x\"\n",
    );
    assert_eq!(found.binary.as_deref(), Some("/usr/local/bin/rke2"));
    assert_eq!(found.arguments, ["server"]);
    assert_eq!(found.exec_start, Some(Origin::at("/u", 15)));
    let files: Vec<(&str, bool)> =
        found.environment_files.iter().map(|file| (file.path.as_str(), file.optional)).collect();
    assert_eq!(
        files,
        [
            ("/etc/default/rke2-server", true),
            ("/etc/sysconfig/rke2-server", true),
            ("/usr/local/lib/systemd/system/rke2-server.env", true),
        ]
    );
}

#[test]
fn a_drop_in_replaces_the_command_and_adds_to_the_environment() {
    let found = unit::parse(
        "rke2-server.service",
        &[
            text("/u", "[Service]\nEnvironment=A=1\nExecStart=/bin/rke2 server\n"),
            text(
                "/u.d/10.conf",
                "[Service]\nExecStart=\nExecStart=/opt/rke2/bin/rke2 server --profile=cis\n\
                 Environment=B=2 A=3\nEnvironmentFile=/e\n",
            ),
        ],
    );
    assert_eq!(found.binary.as_deref(), Some("/opt/rke2/bin/rke2"));
    assert_eq!(found.arguments, ["server", "--profile=cis"]);
    assert_eq!(found.exec_start, Some(Origin::at("/u.d/10.conf", 3)));
    assert_eq!(pairs(&found.environment), [("A", "1"), ("B", "2"), ("A", "3")]);
    assert_eq!(found.environment[2].origin, Origin::at("/u.d/10.conf", 4));
    assert!(!found.environment_files[0].optional);
}

#[test]
fn an_empty_assignment_empties_a_list() {
    let found = service(
        "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\nEnvironmentFile=/a\n\
         EnvironmentFile=\nExecStart=/bin/rke2 server\nExecStart=\n",
    );
    assert_eq!(pairs(&found.environment), [("B", "2")]);
    assert!(found.environment_files.is_empty());
    assert_eq!((found.binary, found.exec_start), (None, None));
}

#[test]
fn words_are_quoted_escaped_and_continued_as_in_systemd() {
    for (line, expected) in [
        ("ExecStart=/r server", &["server"][..]),
        ("ExecStart = /r  server   --x", &["server", "--x"]),
        ("ExecStart=-/r server", &["server"]),
        ("ExecStart=@/r server", &["server"]),
        ("ExecStart=/r server \\\n  --x \\\n# a comment\n  --y", &["server", "--x", "--y"]),
        ("ExecStart=/r \"a b\" 'c \"d\"'", &["a b", "c \"d\""]),
        ("ExecStart=/r \"\" ''", &["", ""]),
        ("ExecStart=/r a\\tb \"c\\\"d\"", &["a\tb", "c\"d"]),
        (
            "ExecStart=/r --name=%N %n %p 100%% %i",
            &["--name=rke2-server", "rke2-server.service", "rke2-server", "100%", "%i"],
        ),
        ("ExecStart=/r \"open", &["open"]),
        ("ExecStart=/r \\x41\\102\\u00e9 \\q \\x4 \\x00", &["AB\u{e9}", "\\q", "\\x4", "\\x00"]),
        ("ExecStart=/r a\\sb \\x+1", &["a b", "\\x+1"]),
    ] {
        let found = service(&format!("[Service]\n{line}\n"));
        assert_eq!(found.arguments, expected, "{line}");
        assert_eq!(found.binary.as_deref(), Some("/r"), "{line}");
    }
}

#[test]
fn variables_on_the_command_line_are_filled_in() {
    let environment = [("OPTS", "--profile=cis  --selinux"), ("DIR", "/old"), ("DIR", "/opt")].map(
        |(name, value)| Variable {
            name: name.into(),
            value: value.into(),
            origin: Origin::file("/e"),
        },
    );
    for (arguments, expected) in [
        (&["server", "$OPTS"][..], &["server", "--profile=cis", "--selinux"][..]),
        (&["--data-dir=${DIR}/x"], &["--data-dir=/opt/x"]),
        (&["--data-dir=$DIR"], &["--data-dir=$DIR"]),
        (&["$NONE", "a"], &["a"]),
        (&["${NONE}"], &[""]),
        (&["$$x", "${open", "$"], &["$x", "${open", "$"]),
    ] {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(exec::command_line(&arguments, &environment).words, expected);
    }
}

#[test]
fn an_environment_file_is_read_as_systemd_reads_it() {
    for (content, expected) in [
        ("A=1\nB=2\n", &[("A", "1"), ("B", "2")][..]),
        ("A=1", &[("A", "1")]),
        ("# A=0\n; A=0\n\n  A=1\n", &[("A", "1")]),
        ("A=\"two words\"\n", &[("A", "two words")]),
        ("A='it is \"so\" $x \\n'\n", &[("A", "it is \"so\" $x \\n")]),
        ("A=\"a\\\"b\\$c\\xd\"\n", &[("A", "a\"b$c\\xd")]),
        ("A=two words  \n", &[("A", "two words")]),
        ("A='kept  '\n", &[("A", "kept  ")]),
        ("A='one' two\n", &[("A", "onetwo")]),
        ("A=a\\\nb\n", &[("A", "ab")]),
        ("A=\"a\\\nb\nc\"\n", &[("A", "ab\nc")]),
        ("A=a#b\n", &[("A", "a#b")]),
        ("A=\n", &[("A", "")]),
        ("A =1\n", &[("A", "1")]),
        ("A= 1\n", &[("A", "1")]),
        ("export A=1\n", &[]),
        ("1A=1\n=1\nno assignment\n", &[]),
        ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
        ("A=$B ${C}\n", &[("A", "$B ${C}")]),
        ("A=b=c\n", &[("A", "b=c")]),
        ("A='open\nB=1\n", &[("A", "open\nB=1\n")]),
    ] {
        let found = env_file::parse("/e", content.as_bytes());
        assert_eq!(pairs(&found), expected, "{content:?}");
    }
}

#[test]
fn a_variable_of_a_file_has_its_line() {
    let found = env_file::parse("/e", b"# c\nA=1\nB=\"x\ny\"\n\nC=2\\\n3\nD=4\n");
    let lines: Vec<String> = found.iter().map(|variable| variable.origin.to_string()).collect();
    assert_eq!(lines, ["/e:2", "/e:3", "/e:6", "/e:8"]);
}

#[test]
fn files_beyond_the_limit_are_left_out() {
    let mut content = b"A=1\n".to_vec();
    content.resize(env_file::MAX_SIZE + 1, b'\n');
    assert!(env_file::parse("/e", &content).is_empty());
    let mut content = b"[Service]\nExecStart=/bin/rke2 server\n".to_vec();
    content.resize(unit::MAX_SIZE + 1, b'\n');
    let found = unit::parse("x.service", &[UnitText { path: "/u".into(), content }]);
    assert_eq!(found, unit::Service::default());
    let many: String = (0..10_000).map(|number| format!("A{number}=1\n")).collect();
    assert_eq!(env_file::parse("/e", many.as_bytes()).len(), 4096);
}

#[test]
fn an_environment_is_taken_as_it_is() {
    let origin = nodeguard::model::Origin::file("x");
    let found = unit::assignments(["A=1", "B=x=y\n ", "=no", "none", "1C=no", "", "D="], &origin);
    assert_eq!(pairs(&found), [("A", "1"), ("B", "x=y\n "), ("D", "")]);
    let many: Vec<String> = (0..10_000).map(|number| format!("A{number}=1")).collect();
    assert_eq!(unit::assignments(many.iter().map(String::as_str), &origin).len(), 4096);
}

#[test]
fn the_variables_to_pass_are_names_and_an_empty_line_forgets_them() {
    let names = |content: &str| -> Vec<String> {
        service(content).passed.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names("[Service]\nPassEnvironment=A B=1 'C'\nPassEnvironment=D\n"), ["A", "C", "D"]);
    assert_eq!(names("[Service]\nPassEnvironment=A\nPassEnvironment=\nPassEnvironment=B\n"), ["B"]);
}
