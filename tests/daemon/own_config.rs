// SPDX-License-Identifier: Apache-2.0
//! The real daemon and nodeguard's own configuration: what a policy does, what a reload does, what
//! a broken file does, and what a kernel does that wants it otherwise.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::contest::cpu_share;
use super::host::{CONTEST, Host};

const FILE: &str = "/etc/nodeguard/nodeguard.toml";
const DROP_IN: &str = "/etc/sysctl.d/60-rke2-cis.conf";

/// A server with this as its configuration.
fn configured(text: &str) -> Host {
    let host = Host::server();
    fs::create_dir_all(host.at("/etc/nodeguard/nodeguard.toml.d")).unwrap();
    host.write(FILE, text);
    host
}

/// Waits until what the start and the last change had to do is done.
fn rest(host: &mut Host) {
    host.until("it is quiet", |host| {
        let before = host.wakeups();
        std::thread::sleep(Duration::from_millis(300));
        host.wakeups() == before
    });
}

fn ready(host: &Host) -> bool {
    host.status().starts_with("ready")
}

#[test]
fn the_operators_own_parameter_is_held_live_and_for_the_next_boot() {
    let mut host = configured("[sysctl.extra]\nvm.swappiness = 10\n");
    host.start();
    host.until("ready", |host| ready(host));
    assert_eq!(host.sysctl("vm/swappiness"), "10");
    let drop_in = host.read(DROP_IN);
    assert!(drop_in.ends_with("fs.protected_hardlinks=1\nvm.swappiness=10\n"), "{drop_in}");

    host.set_sysctl("vm/swappiness", "77");

    host.until("it is 10 again", |host| host.sysctl("vm/swappiness") == "10");
    host.until("it is logged", |host| host.log().contains("vm.swappiness corrected: 77 -> 10"));
}

#[test]
fn a_warned_parameter_is_never_written_and_the_report_follows_it() {
    let mut host = configured(
        "[sysctl]\nextra = { vm.swappiness = 10 }\npolicy = { vm.swappiness = \"warn\" }\n",
    );
    host.start();
    for (value, state) in
        [("60", "degraded"), ("10", "ready"), ("33", "degraded"), ("44", "degraded")]
    {
        host.set_sysctl("vm/swappiness", value);
        host.until("the report follows", |host| {
            host.status().starts_with(state)
                && (state == "ready" || host.status().contains(&format!("vm.swappiness={value} ")))
        });
        assert_eq!(host.sysctl("vm/swappiness"), value);
    }
    assert!(host.status().contains("/etc/nodeguard/nodeguard.toml:3"), "{}", host.status());
    // Corrected elsewhere, so that much is seen to have been looked at.
    host.set_sysctl("kernel/panic", "0");
    host.until("kernel.panic is held", |host| host.sysctl("kernel/panic") == "10");
    assert_eq!(host.sysctl("vm/swappiness"), "44");
    assert!(!host.read(DROP_IN).contains("swappiness"), "{}", host.read(DROP_IN));
}

#[test]
fn who_sets_a_warned_parameter_without_end_keeps_neither_processor_nor_journal_busy() {
    let mut host = configured(
        "[sysctl]\nextra = { vm.swappiness = 10 }\npolicy = { vm.swappiness = \"warn\" }\n",
    );
    host.start();
    let lines = |host: &Host| host.log().matches("vm.swappiness=").count();
    let untold = lines(&host);
    let mut value = 0;
    let share = cpu_share(&host, Duration::from_secs(3), || {
        value = (value + 1) % 100;
        host.set_sysctl("vm/swappiness", &value.to_string());
    });
    let told = lines(&host) - untold;
    println!("CPU: {share:.1} %, {told} lines");
    assert!(share < 5.0, "{share} % of a processor, in a debug build");
    assert!(told <= 8, "{told} lines in three seconds: {}", host.log());
    // It is told that somebody does, once, and once that he stopped.
    let rival = "somebody keeps changing vm.swappiness, the last time to ";
    assert_eq!(host.log().matches(rival).count(), 1, "{}", host.log());
    host.set_sysctl("vm/swappiness", "10");
    host.until_within(CONTEST, "the end of it", |host| {
        host.log().contains("vm.swappiness is no longer contested") && ready(host)
    });
    assert_eq!(host.sysctl("vm/swappiness"), "10");
}

#[test]
fn a_contest_over_a_warned_parameter_lasts_as_long_as_the_rival() {
    let mut host = configured(
        "[sysctl]\nextra = { vm.swappiness = 10 }\npolicy = { vm.swappiness = \"warn\" }\n",
    );
    host.start();
    let change = |host: &mut Host, value: u32| {
        host.set_sysctl("vm/swappiness", &(20 + value % 2).to_string());
        std::thread::sleep(Duration::from_millis(170));
    };
    let mut n = 0;
    while !host.log().contains("somebody keeps changing vm.swappiness") {
        change(&mut host, n);
        n += 1;
        assert!(n < 500, "{}", host.log());
    }
    // Two values in turn: whoever looks now and then sees the same one as often as not.
    for n in 0..40 {
        change(&mut host, n);
    }
    assert!(!host.log().contains("no longer contested"), "{}", host.log());
    host.set_sysctl("vm/swappiness", "10");
    host.until_within(CONTEST, "the end of it", |host| host.log().contains("no longer contested"));
}

#[test]
fn who_sets_a_warned_parameter_is_named() {
    let mut host = configured(
        "attribution = true
[sysctl]
extra = { vm.swappiness = 10 }
\
         policy = { vm.swappiness = \"warn\" }\n",
    );
    host.start();
    // A change that was seen: what it is before is not anybody's.
    host.set_sysctl("vm/swappiness", "10");
    host.until("ready", |host| ready(host));
    host.set_sysctl("vm/swappiness", "33");
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let words = format!("; written by {}[{}]", comm.trim(), std::process::id());
    host.until("it is named", |host| host.status().contains("vm.swappiness=33"));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("vm.swappiness=33")).unwrap_or_default();
    assert!(line.contains(&words), "{log}");
    host.until("the report has it", |host| {
        host.read("/run/nodeguard/report.json").contains(&words)
    });
}

#[test]
fn an_ignored_parameter_is_not_written_and_not_told() {
    let mut host = configured(
        "[sysctl]\nextra = { vm.swappiness = 10 }\npolicy = { vm.swappiness = \"ignore\" }\n",
    );
    host.start();
    host.until("ready", |host| ready(host));
    host.set_sysctl("vm/swappiness", "33");
    host.set_sysctl("kernel/panic", "0");
    host.until("what came later is corrected", |host| host.sysctl("kernel/panic") == "10");
    assert_eq!(host.sysctl("vm/swappiness"), "33");
    assert!(ready(&host), "{}", host.status());
    assert!(!host.log().contains("swappiness"), "{}", host.log());
    assert!(!host.read(DROP_IN).contains("swappiness"), "{}", host.read(DROP_IN));
}

#[test]
fn no_policy_makes_a_node_ready_on_which_rke2_would_not_start() {
    for policy in ["warn", "ignore"] {
        let mut host = configured(&format!("[sysctl.policy]\nkernel.panic = \"{policy}\"\n"));
        host.start();
        host.until("fatal", |host| host.status().starts_with("fatal"));
        let words = "invalid kernel parameter value kernel.panic=0 - expected 10";
        assert!(host.status().contains(words), "{}", host.status());
        assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(78));
        assert_eq!(host.sysctl("kernel/panic"), "0", "not written all the same");
        let drop_in = host.read(DROP_IN);
        assert!(!drop_in.contains("kernel.panic="), "{drop_in}");
        assert!(drop_in.contains("kernel.panic_on_oops=1\n"), "{drop_in}");

        host.set_sysctl("kernel/panic", "10");

        host.until("ready by itself", |host| ready(host));
    }
}

#[test]
fn a_change_of_a_file_or_of_a_drop_in_is_in_force_at_once() {
    let mut host = Host::server();
    host.start_bus();
    host.start();
    host.until("ready", |host| ready(host));

    // Before each change: what the one before made the daemon look at must not show this one.
    rest(&mut host);
    fs::create_dir_all(host.at("/etc/nodeguard/nodeguard.toml.d")).unwrap();
    host.write(FILE, "[sysctl.extra]\nvm.swappiness = 10\n");
    host.until("the base file", |host| host.sysctl("vm/swappiness") == "10");

    rest(&mut host);
    fs::create_dir_all(host.at("/run/nodeguard/nodeguard.toml.d")).unwrap();
    host.write("/run/nodeguard/nodeguard.toml.d/50-x.toml", "[sysctl.extra]\nvm.swappiness = 20\n");
    host.until("a drop-in in /run", |host| host.sysctl("vm/swappiness") == "20");

    rest(&mut host);
    host.write("/etc/nodeguard/nodeguard.toml.d/40-x.toml", "[sysctl.extra]\nvm.swappiness = 30\n");
    rest(&mut host);
    host.write("/etc/nodeguard/nodeguard.toml.d/60-x.toml", "[sysctl.extra]\nvm.swappiness = 40\n");
    host.until("the last name", |host| host.sysctl("vm/swappiness") == "40");

    rest(&mut host);
    fs::remove_file(host.at("/etc/nodeguard/nodeguard.toml.d/60-x.toml")).unwrap();
    host.until("without it", |host| host.sysctl("vm/swappiness") == "20");

    rest(&mut host);
    symlink("/dev/null", host.at("/etc/nodeguard/nodeguard.toml.d/50-x.toml")).unwrap();
    host.until("/run's is masked", |host| host.sysctl("vm/swappiness") == "30");
    assert!(host.log().contains("a changed configuration is in force"), "{}", host.log());
}

#[test]
fn sighup_reads_again_what_no_event_tells_of() {
    let mut host = configured("");
    fs::create_dir(host.at("/srv")).unwrap();
    host.write("/srv/elsewhere.toml", "[sysctl.extra]\nvm.swappiness = 10\n");
    fs::remove_file(host.at(FILE)).unwrap();
    symlink("/srv/elsewhere.toml", host.at(FILE)).unwrap();
    host.start();
    assert_eq!(host.sysctl("vm/swappiness"), "10");
    // What the start changed may have asked for one more pass, and that reads what is written before
    // it: then the next value is the one that nothing tells of.
    let mut held = 10;
    loop {
        let next = held + 10;
        host.write("/srv/elsewhere.toml", &format!("[sysctl.extra]\nvm.swappiness = {next}\n"));
        host.set_sysctl("vm/swappiness", "0");
        let [as_before, read] = [held, next].map(|value| value.to_string());
        host.until("it is held", |host| {
            [as_before.as_str(), read.as_str()].contains(&host.sysctl("vm/swappiness").as_str())
        });
        if host.sysctl("vm/swappiness") == as_before {
            break;
        }
        held = next;
        assert!(held < 50, "it is read without a signal: {}", host.log());
    }

    host.signal("HUP");

    let next = (held + 10).to_string();
    host.until("it is read", |host| host.sysctl("vm/swappiness") == next);
}

#[test]
fn while_a_file_is_broken_the_last_whole_configuration_stays_and_every_error_is_told() {
    let mut host = configured("[sysctl.extra]\nvm.swappiness = 10\n");
    host.start();
    host.until("ready", |host| ready(host));

    host.write(FILE, "poll-intervall = '5s'\n[sysctl.extra]\nvm.swappiness = 20\nnet.x = 1\n");

    host.until("degraded", |host| host.status().starts_with("degraded"));
    for words in [
        "unknown key poll-intervall, did you mean poll-interval?; the last whole configuration \
         stays in force",
        "/etc/nodeguard/nodeguard.toml:1",
        "/etc/nodeguard/nodeguard.toml:4",
    ] {
        assert!(host.log().contains(words), "{words}\n{}", host.log());
    }
    host.set_sysctl("vm/swappiness", "0");
    host.until("held as before", |host| host.sysctl("vm/swappiness") == "10");
    host.set_sysctl("kernel/panic", "0");
    host.until("and the rest", |host| host.sysctl("kernel/panic") == "10");
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));

    host.write(FILE, "[sysctl.extra]\nvm.swappiness = 20\n");

    host.until("mended", |host| ready(host) && host.sysctl("vm/swappiness") == "20");
}

#[test]
fn a_first_start_with_a_broken_file_guards_with_the_built_in_configuration() {
    let mut host = configured("[sysctl.extra\nvm.swappiness = 10\n");
    host.start();
    host.until("degraded", |host| host.status().starts_with("degraded"));
    let words = "the built-in configuration stays in force";
    assert!(host.log().contains(words), "{}", host.log());
    assert_eq!(host.sysctl("kernel/panic"), "10");
    assert_eq!(host.sysctl("vm/swappiness"), "60");
    assert!(host.etcd().is_some());
    assert_eq!(host.run(&["gate", "--role", "server"]).status.code(), Some(0));
}

#[test]
fn a_file_that_somebody_else_could_write_is_not_believed() {
    for (spoil, words) in [
        ("owner", "it is owned by uid 1000, expected root"),
        ("mode", "others than root can write to it (mode 0666)"),
        ("directory", "/etc/nodeguard is writable by others (mode 0777)"),
    ] {
        let mut host = configured("[sysctl.extra]\nvm.swappiness = 10\n");
        let mode = |path, mode| {
            fs::set_permissions(host.at(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        match spoil {
            "owner" => host.chown(FILE, (1000, 0)),
            "mode" => mode(FILE, 0o666),
            _ => mode("/etc/nodeguard", 0o777),
        }
        host.start();
        // Nobody mends what RKE2 would not start with: the file may say that nothing is to be changed.
        host.until("fatal", |host| host.status().starts_with("fatal"));
        assert!(host.log().contains(words), "{}", host.log());
        assert_eq!(host.sysctl("vm/swappiness"), "60");
        assert_eq!((host.etcd(), host.sysctl("kernel/panic").as_str()), (None, "0"));
    }
}

#[test]
fn the_poll_interval_takes_effect_on_reload() {
    const EXTRA: &str = "[sysctl.extra]\nkernel.msgmax = 12288\n";
    let mut host = configured(&format!("poll-interval = '5min'\n{EXTRA}"));
    host.use_the_kernels(&["kernel/msgmax"]);
    // With everything mended before, no change of its own makes it look a second time; without a
    // watchdog its clock is the poll interval alone.
    assert_eq!(host.run(&["apply", "--role", "server"]).status.code(), Some(0));
    host.start_with_watchdog(None);
    host.until("ready", |host| ready(host));
    let now = |host: &Host| host.inside("cat /proc/sys/kernel/msgmax");
    rest(&mut host);
    host.write_unseen("kernel/msgmax", "4096");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(now(&host), "4096", "longer than the built-in interval");

    host.write(FILE, &format!("poll-interval = '1s'\n{EXTRA}"));
    host.until("the change makes it look", |host| now(host) == "12288");
    // What the file's change made it look at must not show the next one.
    rest(&mut host);

    host.write_unseen("kernel/msgmax", "4096");
    let took = host.until("it polls", |host| now(host) == "12288");
    assert!(took < Duration::from_millis(4500), "{took:?}");
}

#[test]
fn what_a_kernel_refuses_is_one_finding_with_the_reason_and_no_loop() {
    /// Key, value, words of the finding.
    const ROWS: [(&str, &str, &str); 9] = [
        // The kernel prints tabs.
        ("kernel.sem", "250 32000 32 128", ""),
        ("kernel.msgmax", "0x3000", "was set to 0x3000, and the kernel shows 12288 for it"),
        (
            "kernel.shmmni",
            "99999999",
            "Invalid argument (os error 22): it does not take this value",
        ),
        ("vm.swappiness", "10", "Read-only file system (os error 30): /proc/sys is read-only here"),
        // A user namespace's numbers, which are written once; what only root may lower; memory
        // where there is none.
        ("kernel.once", "0 1000 1", "Operation not permitted (os error 1): it takes a right that"),
        ("kernel.privileged", "-1", "Permission denied (os error 13): nobody here may write it"),
        ("kernel.broken", "1", "cannot be read: Input/output error (os error 5)"),
        ("vm.no_such_parameter", "1", "this kernel has no parameter vm.no_such_parameter"),
        ("vm.a_directory", "1", "kernel parameter vm.a_directory cannot be read: Is a directory"),
    ];
    let rows: String = ROWS.iter().map(|(k, v, _)| format!("\"{k}\" = \"{v}\"\n")).collect();
    let mut host = configured(&format!("[sysctl.extra]\n{rows}"));
    host.use_the_kernels(&["kernel/sem", "kernel/msgmax", "kernel/shmmni"]);
    host.write("read-only", "vm/swappiness\n");
    let files = [("once", "uid_map"), ("privileged", "oom_score_adj"), ("broken", "mem")];
    let mut mounts = String::new();
    for (key, file) in files {
        host.write(&format!("stock/kernel/{key}"), "");
        // The shell's files are the program's, which it becomes.
        mounts += &format!("mount --bind /proc/$$/{file} $root/proc/sys/kernel/{key}\n");
    }
    host.write("enter", &mounts);
    host.wrapped = "setpriv --bounding-set=-sys_resource";
    fs::create_dir(host.at("stock/vm/a_directory")).unwrap();
    host.start_bus();

    host.start();

    host.until("degraded", |host| host.status().starts_with("degraded"));
    assert_eq!(host.inside("cat /proc/sys/kernel/sem"), "250\t32000\t32\t128");
    assert_eq!(host.inside("cat /proc/sys/kernel/msgmax"), "12288");
    let log = host.log();
    for (key, _, words) in ROWS {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(key)).collect();
        assert_eq!(lines.iter().filter(|line| !line.contains(DROP_IN)).count(), 1, "{key}\n{log}");
        assert!(lines.iter().any(|line| line.contains(words)), "{words}\n{log}");
    }
    assert_eq!(host.sysctl("kernel/panic"), "10", "the others are held");
    let drop_in = host.read(DROP_IN);
    assert!(drop_in.contains("kernel.sem=250 32000 32 128\n"), "{drop_in}");

    // Our own write of what the kernel shows otherwise is an event too: it must not make the next.
    rest(&mut host);
    let before = host.wakeups();
    std::thread::sleep(Duration::from_secs(3));
    let woken = host.wakeups() - before;
    // Its clock ticks three times in these, and the machine is busy with other tests.
    assert!(woken <= 40, "{woken} wakeups in three seconds");
    assert!(!host.log().contains("contested"), "{}", host.log());

    // And drift away from it is still drift.
    host.inside("echo 4096 >/proc/sys/kernel/msgmax");
    host.until("set again", |host| host.inside("cat /proc/sys/kernel/msgmax") == "12288");
}
