# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Rust, and the tools of cargo's that building and testing take; sourced after script.sh.

# Each tool at the one version that is used, with what else `cargo install` is told. All of them can
# be built with the Rust that Cargo.toml names: `cargo info NAME@VERSION` tells what a tool needs.
# cargo-nextest is built without its way of updating itself, which is half of its dependencies.
cargo_tools='
cargo-deb           3.8.0
cargo-generate-rpm  0.21.1
cargo-nextest       0.9.128  --no-default-features --features default-no-update
cargo-deny          0.20.2
'

# Where tools are looked for besides PATH: the tests' cache, and the build directory, which is used
# where the cache is not ours to write, as when the package is built without being root.
tests_cache=${NODEGUARD_TEST_CACHE:-/var/cache/nodeguard-tests}
cargo_tool_dirs=("$tests_cache/tools" "${CARGO_TARGET_DIR:-$script_root/target}/tools")

# Ends the script unless there is a Rust that can build the program.
need_rust() {
    local needed program said found
    needed=$(sed -n 's/^rust-version *= *"\([^"]*\)".*/\1/p' "$script_root/Cargo.toml")
    [ -n "$needed" ] || die "Cargo.toml has no line rust-version = \"…\""
    for program in cargo rustc; do
        command -v "$program" >/dev/null ||
            die "$program is not on PATH: install Rust $needed or newer from https://rustup.rs${SUDO_USER:+
    (sudo does not keep PATH: use a root shell whose PATH has the cargo of $SUDO_USER)}"
        said=$("$program" --version 2>&1) || die "'$program --version' failed: $said"
        found=$(sed -n "1s/^$program \\([0-9][0-9.]*\\).*/\\1/p" <<<"$said")
        [ -n "$found" ] || die "'$program --version' says '$said', expected a version"
        [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ] ||
            die "Rust $needed or newer is needed, and $(command -v "$program") is $found:
    rustup update stable, or install Rust from https://rustup.rs"
    done
}

# Prints the path of a tool, and builds it first if it is nowhere.
cargo_tool() { # cargo_tool NAME
    local name version options dir file
    read -r name version options < <(grep "^$1 " <<<"$cargo_tools")
    for file in "$(command -v "$name")" "${cargo_tool_dirs[@]/%//bin/$name}"; do
        # Another version may know other options, and is left to who installed it.
        if [ -x "$file" ] && [[ $("$file" --version 2>&1) =~ (^|[ v])"$version"($|[[:space:]]) ]]; then
            echo "$file"
            return
        fi
    done
    for dir in "${cargo_tool_dirs[@]}"; do
        if mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ]; then break; fi
    done
    printf 'building %s %s into %s (once)\n' "$name" "$version" "$dir" >&2
    # Optimising these programs takes minutes and saves seconds.
    # shellcheck disable=SC2086 # the options are words
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --locked --force "$name@$version" $options --root "$dir" </dev/null >&2 ||
        die "cargo install --locked $name@$version --root $dir failed"
    echo "$dir/bin/$name"
}
