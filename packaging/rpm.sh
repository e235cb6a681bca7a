# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The rpm, from the list of files that the deb has in Cargo.toml; sourced after script.sh.

# Prints the deb's files, `SOURCE DESTINATION MODE` a line, and ends the script on a line of the list
# that it does not understand, so that no file can be in one package alone by mistake.
deb_assets() {
    awk -F'"' '
        /^\[/ { section = $0 }
        section != "[package.metadata.deb]" { next }
        /^assets = \[$/ { list = 1; next }
        /^\]/ { list = 0 }
        !list || /^ *(#.*)?$/ { next }
        /^ *\["[^" ]+", "[^" ]+", "[0-7]+"\],?$/ { print $2, $4, $6; n++; next }
        { print "Cargo.toml:" NR ": expected [\"SOURCE\", \"DESTINATION\", \"MODE\"], found: " $0 >"/dev/stderr"; bad = 1 }
        END { if (bad || !n) exit 1 }
    ' Cargo.toml || die "the list of files could not be read: [package.metadata.deb] assets in Cargo.toml"
}

# The same for the rpm. What differs is where the distributions have it.
rpm_assets() {
    deb_assets | while read -r source dest mode; do
        [[ $dest != */ ]] || dest+=${source##*/}
        case $dest in
        # Lintian judges debs.
        usr/share/lintian/*) continue ;;
        # Debian wants this name, and has its own changelog beside it.
        usr/share/doc/nodeguard/changelog) dest=usr/share/doc/nodeguard/${source##*/} ;;
        usr/share/zsh/vendor-completions/*) dest=usr/share/zsh/site-functions/${dest##*/} ;;
        esac
        echo "$source" "$dest" "$mode"
    done
    # cargo-deb adds the unit and the licence by itself.
    echo systemd/nodeguard.service usr/lib/systemd/system/nodeguard.service 644
    echo LICENSE usr/share/licenses/nodeguard/LICENSE 644
}

# Makes DIR/root with the rpm's files, and DIR/rpm.toml, which tells cargo-generate-rpm of them.
# All have one time, so that the package does not depend on when they came here.
stage_rpm() { # stage_rpm PROGRAM DIR
    local program=$1 dir=$2 source dest mode more
    rm -rf "$dir"
    mkdir -p "$dir"
    echo 'assets = [' >"$dir/rpm.toml"
    rpm_assets >"$dir/list"
    while read -r source dest mode; do
        [ "$source" != target/release/nodeguard ] || source=$program
        # Whatever else is built with the program is beside it.
        [[ $source != target/release/* ]] || source=${program%/*}/${source#target/release/}
        install -D -m "$mode" "$source" "$dir/root/$dest"
        more=''
        case $dest in
        # As rpmbuild would do it.
        usr/share/man/*)
            gzip -9n "$dir/root/$dest"
            dest+=.gz more=', doc = true'
            ;;
        usr/share/doc/* | usr/share/licenses/*) more=', doc = true' ;;
        # As cargo-deb does it: what is in /etc is for the operator to edit.
        etc/*) more=', config = "noreplace"' ;;
        esac
        touch -d "@$SOURCE_DATE_EPOCH" "$dir/root/$dest"
        printf '    { source = "%s", dest = "/%s", mode = "%s"%s },\n' \
            "$dir/root/$dest" "$dest" "$mode" "$more"
    done <"$dir/list" >>"$dir/rpm.toml"
    echo ']' >>"$dir/rpm.toml"
}
