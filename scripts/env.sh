#!/bin/sh
# Makes one environment from one lock file: scripts/env.sh DIRECTORY LOCK [REQUIREMENT...]
#
# Why a script: the same steps serve every environment of the Makefile, on a machine that may have uv or only pip, and
# with a make as old as 3.81. A second run installs only what changed. The package itself goes in editable, and the
# lock is complete, so nothing is resolved here: pip's --no-deps makes even an old pip quick. Requirements after the lock
# are resolved and take precedence over its pins (the matrices of `make torture`).
set -eu

directory=$1
lock=$2
shift 2
bin=$directory/bin

say() { printf '%s\n' "$*" >&2; }
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "ApiKeyRouter needs Python 3.11 or newer and found none: install one, or name it with 'make PYTHON=/path/to/python3 ...'."
    exit 1
}

# Debian and Ubuntu keep ensurepip apart; with root's rights it is one package away, without them it is one sentence.
make_venv() {
    python=$(find_python)
    "$python" -m venv "$directory" >/dev/null 2>&1 && return
    rm -rf "$directory"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$python" "$directory" && return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        { apt-get update && apt-get install --yes --no-install-recommends python3-venv; } >/dev/null 2>&1 || true
        "$python" -m venv "$directory" && return
    fi
    say "$python cannot make a virtual environment: on Debian or Ubuntu run 'sudo apt-get install python3-venv', then try again."
    exit 1
}

with_uv() {
    if ! uv=$(command -v uv); then
        [ -x "$bin/uv" ] || "$bin/python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1 || return 1
        uv=$bin/uv
    fi
    "$uv" pip install --quiet --no-deps --python "$bin/python" -r "$lock" &&
        "$uv" pip install --quiet --no-deps --no-build-isolation --python "$bin/python" -e . &&
        { [ $# = 0 ] || "$uv" pip install --quiet --python "$bin/python" "$@"; }
}

with_pip() {
    say "uv could not install here; pip does it, which takes longer."
    "$bin/python" -m ensurepip >/dev/null 2>&1 || true
    "$bin/python" -m pip install --quiet --upgrade pip >/dev/null 2>&1 || true
    "$bin/python" -m pip install --quiet --no-deps -r "$lock" &&
        "$bin/python" -m pip install --quiet --no-deps --no-build-isolation -e . &&
        { [ $# = 0 ] || "$bin/python" -m pip install --quiet "$@"; }
}

fits "$bin/python" || { say "making $directory"; rm -rf "$directory"; make_venv; }
say "installing $lock into $directory"
with_uv "$@" || with_pip "$@" || {
    say "Could not install $lock into $directory: see the messages above; is the package index reachable?"
    exit 1
}
touch "$directory/.stamp"
