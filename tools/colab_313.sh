#!/usr/bin/env bash
# `make test-colab-313`: the tests and all notebooks with Colab's libraries on Python 3.13, which is Colab's own.
#
# Where there is a python3.13, it is taken. Else, on Debian and Ubuntu as root, a Debian 13 is laid into
# build/debian13 (debootstrap; 0.5 GB, and the environment), and the tests run in it. The folder of the course is
# mounted there in a mount namespace of its own, which ends with the tests: nothing stays mounted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

COURSE=$PWD SYSTEM=$PWD/build/debian13
TESTS=(make test-colab COLAB_VENV=.venv-colab-313 PYTHON=python3.13 "RECORD=${RECORD:-}" "PYTEST_ARGS=${PYTEST_ARGS:-}")

if python3.13 -c "import venv" 2>/dev/null; then
    exec "${TESTS[@]}"
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "There is no python3.13 here. Install it, or run this as root on Debian or Ubuntu."
    exit 1
fi

mkdir -p build
command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
if [[ ! -e $SYSTEM/.ready ]]; then
    echo "==> Laying a Debian 13 into build/debian13."
    debootstrap --variant=minbase --include=python3.13,python3.13-venv,make,git,ca-certificates,libgomp1 \
        trixie "$SYSTEM" http://deb.debian.org/debian >build/debootstrap.log
    touch "$SYSTEM/.ready"
fi

# What pip here is told, it is told there: its settings, the folders that they name, and whom to trust.
mkdir -p "$SYSTEM"{/course,/etc/xdg/pip,/etc/ssl/certs}
cp -L /etc/resolv.conf /etc/hosts "$SYSTEM/etc/"
for file in /etc/pip.conf /etc/xdg/pip/* /etc/ssl/certs/ca-certificates.crt; do
    if [[ -f $file ]]; then cp -L "$file" "$SYSTEM$file"; fi
done
folders=$(python3 -m pip config list 2>/dev/null | grep -oE "(file://)?/[^' ]+" | sed -E 's|^file://||; s|/simple$||' || true)

inside() {
    mount --bind "$COURSE" "$SYSTEM/course"
    for place in /proc /dev $folders; do
        if [[ -d $place ]]; then mkdir -p "$SYSTEM$place" && mount --rbind "$place" "$SYSTEM$place"; fi
    done
    chroot "$SYSTEM" bash -c 'cd /course && exec "$@"' bash "${TESTS[@]}"
}
export COURSE SYSTEM folders
unshare --mount --propagation private bash -euc "$(declare -p TESTS); $(declare -f inside); inside"
