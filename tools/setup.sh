#!/usr/bin/env bash
# Everything `make setup` does: the virtual environment, the locked packages, the boards' frozen modules,
# Debian's parts.
#
#   tools/setup.sh environment    .venv from requirements-dev.lock, the project itself, .deps/
#   tools/setup.sh system NAME... Debian packages, where we may install them; what is missing is said, not fatal
#
# PYTHON names another interpreter; IEVCC_NO_APT=1 keeps apt-get out of it.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if recent "$name"; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 or newer is needed (found: $("${PYTHON:-python3}" --version 2>&1 | head -n 1)). On Debian 12 and" \
        "Raspberry Pi OS it is the package python3; name another one with: make setup PYTHON=/path/to/python3"
}

# How to become root without asking anybody anything; fails where that cannot be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    [ -z "${IEVCC_NO_APT:-}" ] && command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -qq update >/dev/null 2>&1 || true # stale lists may still do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null 2>&1
}

make_venv() {
    local python=$1
    # A .venv that was moved or copied here points elsewhere: make a new one.
    if [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 && recent .venv/bin/python; then
        return
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local package
        package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
        if may_install; then
            say "installing Debian's $package"
            apt_install "$package" || apt_install python3-venv || true
        fi
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            die "$python cannot make virtual environments. Install them once: sudo apt-get install python3-venv"
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || die "making .venv failed"
}

environment() {
    local python
    python=$(find_python)
    make_venv "$python"
    say "installing the packages of requirements-dev.lock"
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock ||
        die "installing the locked packages failed; the lines above say why"
    .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable . ||
        die "installing the project itself failed; the lines above say why"
    .venv/bin/python -m tools.frozen_modules || die "without these modules the simulated boards cannot run"
    .venv/bin/python -c 'import micropython_unix' 2>/dev/null ||
        say "no MicroPython for this machine ($(uname -m)): the simulated boards run on CPython with the same shims"
}

present() {
    case $1 in
        mosquitto) [ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null ;;
        chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

without() {
    case $1 in
        mosquitto) echo "the embedded broker is used instead" ;;
        chromium) echo "the tests of the page in a browser are skipped" ;;
        *) echo "what needs it is skipped" ;;
    esac
}

system() {
    local name missing=()
    for name in "$@"; do
        present "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if may_install; then
        say "installing Debian's ${missing[*]} (IEVCC_NO_APT=1 keeps it from that)"
        apt_install "${missing[@]}" || true
    fi
    for name in "${missing[@]}"; do
        present "$name" || say "SKIPPED $name: not installed and no right to install it; $(without "$name")." \
            "To have it: sudo apt-get install $name"
    done
}

case ${1:-} in
    environment) environment ;;
    system) shift; system "$@" ;;
    *) die "usage: tools/setup.sh environment | system NAME..." ;;
esac
