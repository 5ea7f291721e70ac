#!/bin/sh
# Installs the programs named as arguments if they are missing: postgres, nginx, prometheus (with promtool), logrotate,
# ip, wrk, oha, valgrind, systemd-analyze, c++, python (3.11 or newer, with venv), npm (with Node.js 20.19 or newer),
# chromium.
# Uses apt-get (Debian, Ubuntu) or brew (macOS), without prompts.
set -eu

OHA=1.16.0
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin # where cargo installs programs

present() {
    case $1 in
    postgres) # the paths that atelier-local searches, see local/src/binaries.rs
        [ -n "${PG_BIN:-}" ] && return
        command -v postgres >/dev/null && return
        for server in /usr/lib/postgresql/*/bin/postgres /opt/homebrew/opt/postgresql*/bin/postgres \
            /usr/local/opt/postgresql*/bin/postgres; do
            [ -x "$server" ] && return
        done
        return 1 ;;
    prometheus) command -v prometheus >/dev/null && command -v promtool >/dev/null ;;
    nginx | logrotate) # Debian's path too, which is not in every user's PATH: see local/src/load_balancer.rs
        command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
    python) python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ;;
    npm) node -e 'const [major, minor] = process.versions.node.split(".")
        process.exit(major > 20 || major == 20 && minor >= 19 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null ;;
    oha) [ "$(oha --version 2>/dev/null)" = "oha $OHA" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "$0: cannot install without root: sudo is missing; as root, run: $*" >&2
        exit 1
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

policy=/usr/sbin/policy-rc.d
policy_mark='# By scripts/install.sh, which removes it after the installation.'

# Removes the policy file, but only if this script wrote it.
allow_services() {
    ! grep -qsxF -e "$policy_mark" $policy || as_root rm -f $policy
}

# Installs a package whose server starts now and at each boot, which the project does not use. policy-rc.d prevents the
# start during the installation. An existing policy-rc.d stays as it is.
apt_install_stopped() {
    if [ ! -e $policy ]; then
        trap allow_services EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
        as_root sh -c "printf '%s\n' '#!/bin/sh' '$policy_mark' 'exit 101' >$policy && chmod 755 $policy"
    fi
    apt_install "$1" && installed=0 || installed=$?
    allow_services
    [ $installed != 0 ] || as_root update-rc.d "$1" disable
    return $installed
}

with_apt() {
    case $1 in
    postgres)
        # The package creates and starts a cluster, which the project does not use. This setting prevents it during
        # the installation.
        apt_install postgresql-common
        overrides=/etc/postgresql-common/createcluster.d
        as_root sh -c "mkdir -p $overrides && echo 'create_main_cluster = off' >$overrides/atelier.conf"
        apt_install postgresql && installed=0 || installed=$?
        as_root rm -f $overrides/atelier.conf
        return $installed ;;
    nginx | prometheus) apt_install_stopped "$1" ;;
    python) apt_install python3 python3-venv ;;
    npm) apt_install nodejs npm ;;
    ip) apt_install iproute2 ;;
    c++) apt_install g++ ;;
    systemd-analyze) apt_install systemd ;;
    *) apt_install "$1" ;;
    esac
}

with_brew() {
    case $1 in
    postgres) brew install postgresql@17 ;;
    ip) brew install iproute2mac ;;
    python) brew install python@3.13 ;;
    npm) brew install node ;;
    *) brew install "$1" ;;
    esac
}

allow_services # cleans up after a killed installation

updated=
for program in "$@"; do
    present "$program" && continue
    echo "Installing $program" >&2
    if [ "$program" = oha ]; then # no distribution has it; some minutes, into cargo's own folder
        cargo install --quiet --locked --force "oha@$OHA"
        continue
    fi
    if command -v apt-get >/dev/null; then
        [ -n "$updated" ] || as_root apt-get update
        updated=yes
        with_apt "$program"
    elif command -v brew >/dev/null; then
        with_brew "$program"
    else
        echo "$0: cannot install $program: neither apt-get nor brew is available; install it yourself" >&2
        exit 1
    fi
    if [ "$program" = python ] && ! present python; then
        echo "$0: unsupported python3, $(python3 --version 2>&1): expected 3.11 or newer, with venv" >&2
        exit 1
    fi
    if [ "$program" = npm ] && ! present npm; then
        echo "$0: unsupported Node.js, $(node --version 2>&1): expected 20.19 or newer, with npm; install it from https://nodejs.org" >&2
        exit 1
    fi
done
