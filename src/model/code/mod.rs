// SPDX-License-Identifier: Apache-2.0
//! Every code that a finding can have, with all that is known of it without a node: which control it
//! belongs to, what it may weigh, what it means and what to do. The manual and `nodeguard explain`
//! tell it from here, and whoever has to treat a code in another way than others asks it.

mod etcd_account;
mod etcd_data_dir;
mod fatal;
mod nodeguard_config;
mod rke2_config;
mod sysctl;

use std::fmt;

use super::{ControlId, Name, Severity};

pub use fatal::{FatalClass, Rule, WhenFatal};

/// Whether somebody can keep undoing what we correct, and as what the count of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contest {
    /// We correct nothing of the kind.
    Never,
    /// As the one parameter or file that is named.
    Alone,
    /// As the one file that is named, or as the whole tree that it is in.
    WithTree,
}

/// What is known of a code.
#[derive(Debug)]
struct About {
    name: &'static str,
    /// Those whose finding it can be; the first one's unless [`super::Finding::of`] says another.
    controls: &'static [ControlId],
    /// Those that its finding can have, the usual one first.
    severities: &'static [Severity],
    /// By which rules it is fatal, for a code that can be.
    fatal: WhenFatal,
    contest: Contest,
    aspect: &'static str,
    cis_ids: &'static [&'static str],
    cause: &'static str,
    remedy: &'static str,
}

impl About {
    /// What most codes of these controls have in common.
    const fn of(controls: &'static [ControlId]) -> Self {
        Self {
            name: "",
            controls,
            severities: &[],
            fatal: WhenFatal::Never,
            contest: Contest::Never,
            aspect: "",
            cis_ids: &[],
            cause: "",
            remedy: "",
        }
    }
}

/// Makes the enum, [`Code::ALL`] and the way from a code to what is known of it from one list, so
/// that none of them can lack a code. One that can be fatal without a rule, or has a rule and cannot,
/// does not compile.
macro_rules! codes {
    ($($code:ident = $about:path,)+) => {
        /// What a finding is about. Its name is stable: scripts match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($code,)+
        }

        impl Code {
            /// Every code, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            fn about(self) -> &'static About {
                match self {
                    $(Self::$code => &$about,)+
                }
            }
        }

        $(const _: () = assert!(
            $about.fatal.fits($about.severities),
            concat!(stringify!($code), ": what can be fatal has whole rules, and nothing else has")
        );)+
    };
}

codes! {
    ConfigInvalid = rke2_config::CONFIG_INVALID,
    FlagConflict = rke2_config::FLAG_CONFLICT,
    FlagUnlisted = rke2_config::FLAG_UNLISTED,
    AgentCannotJoin = rke2_config::AGENT_CANNOT_JOIN,
    ConfigIgnored = rke2_config::CONFIG_IGNORED,
    ConfigUnread = rke2_config::CONFIG_UNREAD,
    EnvironmentUnread = rke2_config::ENVIRONMENT_UNREAD,
    ConfigRemote = rke2_config::CONFIG_REMOTE,
    ConfigKeyIgnored = rke2_config::CONFIG_KEY_IGNORED,
    ConfigNotRead = rke2_config::CONFIG_NOT_READ,
    EnvironmentFileMissing = rke2_config::ENVIRONMENT_FILE_MISSING,
    RoleBoth = rke2_config::ROLE_BOTH,
    RoleUnknown = rke2_config::ROLE_UNKNOWN,
    ProfileMissing = rke2_config::PROFILE_MISSING,
    ProfileIgnored = rke2_config::PROFILE_IGNORED,
    ProfileInvalid = rke2_config::PROFILE_INVALID,
    ProfileDeprecated = rke2_config::PROFILE_DEPRECATED,
    ProtectKernelDefaultsConflict = rke2_config::PROTECT_KERNEL_DEFAULTS_CONFLICT,
    KubeletConfigInvalid = rke2_config::KUBELET_CONFIG_INVALID,
    DataDirInvalid = rke2_config::DATA_DIR_INVALID,
    DataDirRelative = rke2_config::DATA_DIR_RELATIVE,
    DataDirReadOnly = rke2_config::DATA_DIR_READ_ONLY,
    DataDirFileSystem = rke2_config::DATA_DIR_FILE_SYSTEM,
    DataDirNoexec = rke2_config::DATA_DIR_NOEXEC,
    DataDirNotMounted = rke2_config::DATA_DIR_NOT_MOUNTED,
    DataDirOtherMount = rke2_config::DATA_DIR_OTHER_MOUNT,
    DataDirUnlabelled = rke2_config::DATA_DIR_UNLABELLED,
    EtcdArgUnsupported = rke2_config::ETCD_ARG_UNSUPPORTED,
    DisableEtcdWithoutServer = rke2_config::DISABLE_ETCD_WITHOUT_SERVER,
    VersionNewer = rke2_config::VERSION_NEWER,
    HiddenFromService = rke2_config::HIDDEN_FROM_SERVICE,
    OverridePending = rke2_config::OVERRIDE_PENDING,
    OverrideUsed = rke2_config::OVERRIDE_USED,
    SysctlLive = sysctl::SYSCTL_LIVE,
    SysctlDropIn = sysctl::SYSCTL_DROP_IN,
    SysctlOverridden = sysctl::SYSCTL_OVERRIDDEN,
    SysctlUnread = sysctl::SYSCTL_UNREAD,
    SysctlMisread = sysctl::SYSCTL_MISREAD,
    AttributionUnavailable = sysctl::ATTRIBUTION_UNAVAILABLE,
    EventsMissed = sysctl::EVENTS_MISSED,
    Contested = sysctl::CONTESTED,
    EtcdUserMissing = etcd_account::ETCD_USER_MISSING,
    EtcdGroupMissing = etcd_account::ETCD_GROUP_MISSING,
    EtcdElsewhere = etcd_account::ETCD_ELSEWHERE,
    EtcdPinnedIdTaken = etcd_account::ETCD_PINNED_ID_TAKEN,
    EtcdPinnedIdDiffers = etcd_account::ETCD_PINNED_ID_DIFFERS,
    EtcdPrimaryGroup = etcd_account::ETCD_PRIMARY_GROUP,
    EtcdUserIsRoot = etcd_account::ETCD_USER_IS_ROOT,
    EtcdGroupIsRoot = etcd_account::ETCD_GROUP_IS_ROOT,
    EtcdLoginShell = etcd_account::ETCD_LOGIN_SHELL,
    EtcdPassword = etcd_account::ETCD_PASSWORD,
    EtcdHome = etcd_account::ETCD_HOME,
    EtcdGroupMembers = etcd_account::ETCD_GROUP_MEMBERS,
    EtcdIdInvalid = etcd_account::ETCD_ID_INVALID,
    EtcdDuplicateName = etcd_account::ETCD_DUPLICATE_NAME,
    EtcdSharedId = etcd_account::ETCD_SHARED_ID,
    AccountLineMalformed = etcd_account::ACCOUNT_LINE_MALFORMED,
    AccountDatabaseUnreadable = etcd_account::ACCOUNT_DATABASE_UNREADABLE,
    EtcdOwner = etcd_data_dir::ETCD_OWNER,
    EtcdMode = etcd_data_dir::ETCD_MODE,
    EtcdAcl = etcd_data_dir::ETCD_ACL,
    EtcdTlsOwner = etcd_data_dir::ETCD_TLS_OWNER,
    EtcdTlsMode = etcd_data_dir::ETCD_TLS_MODE,
    EtcdProcessUser = etcd_data_dir::ETCD_PROCESS_USER,
    EtcdTlsLink = etcd_data_dir::ETCD_TLS_LINK,
    EtcdLink = etcd_data_dir::ETCD_LINK,
    EtcdLinkDangling = etcd_data_dir::ETCD_LINK_DANGLING,
    EtcdLinkOutside = etcd_data_dir::ETCD_LINK_OUTSIDE,
    EtcdLinkForeign = etcd_data_dir::ETCD_LINK_FOREIGN,
    EtcdHardlink = etcd_data_dir::ETCD_HARDLINK,
    EtcdHardlinkForeign = etcd_data_dir::ETCD_HARDLINK_FOREIGN,
    EtcdSpecialFile = etcd_data_dir::ETCD_SPECIAL_FILE,
    EtcdDevice = etcd_data_dir::ETCD_DEVICE,
    EtcdImmutable = etcd_data_dir::ETCD_IMMUTABLE,
    EtcdMount = etcd_data_dir::ETCD_MOUNT,
    EtcdTooDeep = etcd_data_dir::ETCD_TOO_DEEP,
    EtcdOddEntries = etcd_data_dir::ETCD_ODD_ENTRIES,
    EtcdDirLink = etcd_data_dir::ETCD_DIR_LINK,
    EtcdDirUnreadable = etcd_data_dir::ETCD_DIR_UNREADABLE,
    EtcdPathUnsafe = etcd_data_dir::ETCD_PATH_UNSAFE,
    OwnConfig = nodeguard_config::OWN_CONFIG,
    OwnConfigUnused = nodeguard_config::OWN_CONFIG_UNUSED,
    ReportMode = nodeguard_config::REPORT_MODE,
    FindingsLeftOut = nodeguard_config::FINDINGS_LEFT_OUT,
}

impl Code {
    /// The stable name used in JSON, on D-Bus, in the journal and in the manual.
    pub fn as_str(self) -> &'static str {
        self.about().name
    }

    /// The code with this very name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The controls whose finding it can be: one, but for what any object can have.
    pub fn controls(self) -> &'static [ControlId] {
        self.about().controls
    }

    /// What a finding of it may weigh, the usual severity first.
    pub fn severities(self) -> &'static [Severity] {
        self.about().severities
    }

    /// Whether somebody can keep undoing what we correct of it.
    pub fn contest(self) -> Contest {
        self.about().contest
    }

    /// By which rules of RKE2's, kubelet's or the kernel's it is fatal.
    pub fn when_fatal(self) -> WhenFatal {
        self.about().fatal
    }

    /// Whether RKE2's own chown can leave etcd's data directory through what it is about.
    pub fn leads_out(self) -> bool {
        let gives_away = |rule: &Rule| rule.class == FatalClass::GivesAway;
        // A kernel parameter is on no way.
        self.controls().contains(&ControlId::EtcdDataDir)
            && self.when_fatal().rules().iter().any(gives_away)
    }

    /// Whether the configuration can demote it to a warning. What only counts others cannot be named
    /// instead of them.
    pub fn can_be_demoted(self) -> bool {
        matches!(self.when_fatal(), WhenFatal::By(_))
    }

    /// What of its subject it is about, where the subject has more than one thing that can be
    /// corrected: `owner` of a file. Empty for most.
    pub fn aspect(self) -> &'static str {
        self.about().aspect
    }

    /// The recommendations of the CIS Kubernetes Benchmark that fail with it.
    pub fn cis_ids(self) -> &'static [&'static str] {
        self.about().cis_ids
    }

    /// What it means, in sentences. What is to be typed or is a name stands between backticks.
    pub fn cause(self) -> &'static str {
        self.about().cause
    }

    /// What an operator does about it, in the same form. The finding itself has the command for the
    /// node that it is about.
    pub fn remedy(self) -> &'static str {
        self.about().remedy
    }
}

impl Name for Code {
    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_one_kebab_case_name_which_leads_back_to_it() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len(), "two codes have one name");
        for code in Code::ALL {
            let name = code.as_str();
            let words: Vec<_> = name.split('-').collect();
            let word = |w: &&str| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase());
            assert!(words.iter().all(word), "{name}");
            assert_eq!(Code::named(name), Some(*code));
        }
        assert_eq!(Code::named("sysctl-value"), None);
    }

    #[test]
    fn each_code_has_a_control_a_severity_and_sentences_and_says_each_thing_once() {
        for code in Code::ALL {
            let once = |all: Vec<&str>| all.iter().collect::<BTreeSet<_>>().len() == all.len();
            let controls: Vec<_> = code.controls().iter().map(|c| c.as_str()).collect();
            let severities: Vec<_> = code.severities().iter().map(|s| s.as_str()).collect();
            assert!(!controls.is_empty() && once(controls), "{code}");
            assert!(!severities.is_empty() && once(severities), "{code}");
            for text in [code.cause(), code.remedy()] {
                assert!(text.ends_with('.') && text.trim() == text, "{code}: {text:?}");
                assert!(!text.contains("  ") && !text.contains('\n'), "{code}: {text:?}");
                assert_eq!(text.matches('`').count() % 2, 0, "{code}: {text:?}");
            }
        }
    }

    #[test]
    fn what_fails_with_a_code_is_what_its_controls_are_for() {
        for code in Code::ALL {
            let of_controls: Vec<_> = code.controls().iter().flat_map(|c| c.cis_ids()).collect();
            let beyond: Vec<_> =
                code.cis_ids().iter().filter(|id| !of_controls.contains(id)).collect();
            match code {
                // The TLS files are held besides; the control is named for the data directory.
                Code::EtcdTlsMode => assert_eq!(beyond, [&"1.1.20", &"1.1.21"]),
                _ => assert_eq!(beyond, Vec::<&&str>::new(), "{code}"),
            }
        }
    }

    #[test]
    fn a_code_that_can_be_fatal_has_rules_that_can_be_looked_up_and_one_that_cannot_has_none() {
        let mut classes = BTreeSet::new();
        for code in Code::ALL {
            let fatal = code.severities().contains(&Severity::Fatal);
            assert_eq!(code.when_fatal() != WhenFatal::Never, fatal, "{code}");
            for Rule { class, rule, versions, source } in code.when_fatal().rules() {
                classes.insert(*class);
                assert!(rule.ends_with('.') && !rule.contains("  "), "{code}: {rule:?}");
                assert!(
                    !versions.ends_with('.') && versions.contains(char::is_alphabetic),
                    "{code}"
                );
                // A path of a source, or a page of a manual or a specification.
                let named = |mark: &str| source.contains(mark);
                assert!(["/", "(2)", "(5)", "rst"].into_iter().any(named), "{code}: {source}");
                let told = [rule, versions, source];
                assert!(told.iter().all(|text| text.trim() == **text), "{code}: {told:?}");
            }
        }
        assert_eq!(classes.len(), FatalClass::ALL.len(), "each class has a code");
        let counted = |code: &&Code| code.when_fatal() == WhenFatal::AsCounted;
        let counted: Vec<_> = Code::ALL.iter().filter(counted).collect();
        assert_eq!(counted, [&Code::EtcdOddEntries, &Code::FindingsLeftOut]);
    }

    #[test]
    fn what_is_corrected_is_contested_and_what_leads_out_is_fatal() {
        for code in Code::ALL {
            let severities = code.severities();
            if code.leads_out() {
                assert_eq!(severities, [Severity::Fatal], "{code}");
            }
            // An account is made by tools that take long, and left to the passes by the clock.
            let of_account = code.controls() == [ControlId::EtcdAccount];
            let mended = severities.contains(&Severity::Drift) && *code != Code::FindingsLeftOut;
            assert_eq!(mended && !of_account, code.contest() != Contest::Never, "{code}");
        }
    }
}
