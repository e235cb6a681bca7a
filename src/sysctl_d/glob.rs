// SPDX-License-Identifier: Apache-2.0
//! glob(7) over paths, for the question "does this pattern meet that path".

use super::Loader;

/// Alternatives of braces that are tried.
const ALTERNATIVES: usize = 256;

/// Bytes that are looked at in taking braces apart: nested ones cost much on the way to each
/// alternative.
const WORK: usize = 256 * 1024;

/// A longer pattern meets nothing: no path is that long.
const LIMIT: usize = 4096;

/// Whether a pattern meets a path, component by component: a `*` never crosses a slash.
pub(super) fn matches(pattern: &str, path: &str, loader: Loader) -> bool {
    match loader {
        _ if pattern.len() > LIMIT => false,
        Loader::Procps | Loader::NewerProcps => components(pattern, path),
        // systemd asks glob(3) for braces.
        Loader::Systemd => {
            if !begins_as(pattern, path) {
                return false;
            }
            let mut budget = Budget { alternatives: ALTERNATIVES, work: WORK };
            expand(pattern, &mut budget).iter().any(|pattern| components(pattern, path))
        }
    }
}

/// Whether what stands before the first special character is the path's beginning: most patterns
/// are done with by that.
fn begins_as(pattern: &str, path: &str) -> bool {
    let literal = pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
    path.starts_with(literal)
}

/// What taking the braces of one pattern apart may still cost.
struct Budget {
    alternatives: usize,
    work: usize,
}

/// fnmatch(3) without flags, where a `*` crosses slashes and meets a leading dot.
pub(super) fn meets(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    pattern.len() <= LIMIT && matches_all(&pattern, &path)
}

/// Component by component, as glob(3) has it without braces.
pub(crate) fn components(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) => {
                let pattern: Vec<char> = pattern.chars().collect();
                let part: Vec<char> = part.chars().collect();
                if !component(&pattern, &part) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// One component. A leading dot is met by a dot only.
fn component(pattern: &[char], name: &[char]) -> bool {
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    matches_all(pattern, name)
}

fn matches_all(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when the rest does not fit: behind the last star, one character later.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        let step = name.get(n).and_then(|c| one(&pattern[p..], *c));
        if let Some(length) = step {
            p += length;
            n += 1;
            continue;
        }
        match retry {
            Some((after, from)) if from < name.len() => {
                retry = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
    true
}

/// How many characters of the pattern meet `c`, if they do.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match bracket(pattern, c) {
            Some((length, met)) => met.then_some(length),
            // Never closed: it stands for itself.
            None => (c == '[').then_some(1),
        },
        '\\' => match pattern.get(1) {
            Some(literal) => (*literal == c).then_some(2),
            None => (c == '\\').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

/// A bracket expression: its length, and whether `c` is in it. `None` where it is not closed.
fn bracket(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut met = false;
    loop {
        match *pattern.get(at)? {
            ']' if at > first => return Some((at + 1, met != negated)),
            '[' if pattern.get(at + 1) == Some(&':') => {
                let end = at + 2 + pattern[at + 2..].windows(2).position(|w| w == [':', ']'])?;
                let class: String = pattern[at + 2..end].iter().collect();
                met |= in_class(&class, c);
                at = end + 2;
            }
            mut low => {
                if low == '\\' {
                    at += 1;
                    low = *pattern.get(at)?;
                }
                let mut high = low;
                if pattern.get(at + 1) == Some(&'-')
                    && !matches!(pattern.get(at + 2), None | Some(']'))
                {
                    at += 2;
                    if pattern[at] == '\\' {
                        at += 1;
                    }
                    high = *pattern.get(at)?;
                }
                met |= (low..=high).contains(&c);
                at += 1;
            }
        }
    }
}

/// In the C locale, which systemd and a boot have.
fn in_class(class: &str, c: char) -> bool {
    match class {
        "alnum" => c.is_ascii_alphanumeric(),
        "alpha" => c.is_ascii_alphabetic(),
        "blank" => c == ' ' || c == '\t',
        "cntrl" => c.is_ascii_control(),
        "digit" => c.is_ascii_digit(),
        "graph" => c.is_ascii_graphic(),
        "lower" => c.is_ascii_lowercase(),
        "print" => c.is_ascii_graphic() || c == ' ',
        "punct" => c.is_ascii_punctuation(),
        "space" => c.is_ascii_whitespace() || c == '\u{b}',
        "upper" => c.is_ascii_uppercase(),
        "xdigit" => c.is_ascii_hexdigit(),
        _ => false,
    }
}

/// The first brace with a partner is taken apart, then the others.
fn expand(pattern: &str, budget: &mut Budget) -> Vec<String> {
    if budget.alternatives == 0 || budget.work < pattern.len() {
        return Vec::new();
    }
    budget.work -= pattern.len();
    let Some((open, close)) = brace(pattern) else {
        budget.alternatives -= 1;
        return vec![pattern.to_owned()];
    };
    let mut out = Vec::new();
    for alternative in alternatives(&pattern[open + 1..close]) {
        let text = format!("{}{alternative}{}", &pattern[..open], &pattern[close + 1..]);
        out.extend(expand(&text, budget));
    }
    out
}

/// The first brace and its partner. `{}` stands for itself.
fn brace(pattern: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(open) = pattern[from..].find('{').map(|at| from + at) {
        if !pattern[open..].starts_with("{}") {
            let mut depth = 0usize;
            for (at, c) in pattern[open..].char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return Some((open, open + at));
                }
            }
            return None;
        }
        from = open + 2;
    }
    None
}

/// What commas at the outermost level separate.
fn alternatives(inside: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&inside[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_what_glob_says() {
        for (pattern, path, met) in [
            ("net/ipv4/conf/*/rp_filter", "net/ipv4/conf/all/rp_filter", true),
            ("net/ipv4/conf/*/rp_filter", "net/ipv4/conf/eth0.1/rp_filter", true),
            ("net/*/rp_filter", "net/ipv4/conf/all/rp_filter", false),
            ("kernel/pan*", "kernel/panic_on_oops", true),
            ("kernel/*ic", "kernel/panic", true),
            ("kernel/*n*c", "kernel/panic", true),
            ("kernel/*", "kernel/panic", true),
            ("*/*", "kernel/panic", true),
            ("*", "kernel/panic", false),
            ("kernel/pani?", "kernel/panic", true),
            ("kernel/panic?", "kernel/panic", false),
            ("kernel/pani[a-d]", "kernel/panic", true),
            ("kernel/pani[!a-d]", "kernel/panic", false),
            ("kernel/pani[^x]", "kernel/panic", true),
            ("kernel/pani[]c]", "kernel/panic", true),
            ("kernel/pani[[:lower:]]", "kernel/panic", true),
            ("kernel/pani[[:digit:]]", "kernel/panic", false),
            ("kernel/pani[c", "kernel/panic", false),
            ("kernel/pani[c", "kernel/pani[c", true),
            ("kernel/pani\\c*", "kernel/panic", true),
            ("kernel/*", "kernel/.hidden", false),
            ("kernel/.h*", "kernel/.hidden", true),
        ] {
            for loader in [Loader::Systemd, Loader::Procps] {
                assert_eq!(matches(pattern, path, loader), met, "{pattern} {path}");
            }
        }
    }

    #[test]
    fn braces_are_systemds_alone() {
        for (pattern, path) in [
            ("net/ipv4/conf/{all,default}/rp*", "net/ipv4/conf/default/rp_filter"),
            ("{vm,kernel}/p*", "kernel/panic"),
            ("kernel/{pan{ic,x},y}*", "kernel/panic"),
        ] {
            assert!(matches(pattern, path, Loader::Systemd), "{pattern}");
            assert!(!matches(pattern, path, Loader::Procps), "{pattern}");
        }
        assert!(!matches("kernel/{pan*", "kernel/panic", Loader::Systemd));
    }

    #[test]
    fn without_flags_a_star_crosses_slashes() {
        for (pattern, met) in
            [("*/*", true), ("net/*/rp_filter", true), ("net*[/]rp_filter", true), ("net/?", false)]
        {
            assert_eq!(meets(pattern, "net/ipv4/conf/all/rp_filter"), met, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_made_to_explode_costs_little_and_meets_nothing() {
        for times in [60, 100_000] {
            let braces = format!("kernel/{}*", "{a,b}".repeat(times));
            assert!(!matches(&braces, "kernel/panic", Loader::Systemd));
        }
        let stars = format!("kernel/{}b", "*a".repeat(400));
        assert!(!matches(&stars, &format!("kernel/{}", "a".repeat(2000)), Loader::Systemd));
    }

    #[test]
    fn what_braces_cost_is_bounded_and_those_that_people_write_are_taken_apart() {
        let started = std::time::Instant::now();
        // Each level doubles what is to be done, and none of them is an alternative yet.
        let nested = format!("net/{}x{}", "{a,".repeat(1000), "}".repeat(1000));
        assert!(!matches(&nested, "net/x", Loader::Systemd));
        for _ in 0..64 {
            let deep = format!("net/{}{}", "{".repeat(2000), "}".repeat(2000));
            assert!(!matches(&deep, "net/x", Loader::Systemd));
        }
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        let wide = format!("net/{{{}x}}/y", "a,".repeat(200));
        assert!(matches(&wide, "net/x/y", Loader::Systemd));
        let both = "net/{ipv4,ipv6}/conf/{all,default,eth{0,1,2}}/{a,b}";
        assert!(matches(both, "net/ipv6/conf/eth2/b", Loader::Systemd));
    }
}
