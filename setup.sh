#!/bin/sh
# Makes the development environment; `make demo` and `make test` call it, the latter with the word
# "test".
#
#   .venv       a virtual environment with tinyaot (editable) and all its extras
#   .typing     a symlink that shows type checkers the import root (see pyproject.toml)
#   apt         the Arm cross compiler, its C library, QEMU and CMake, where they are missing; for
#               the tests also OpenOCD, Clang, and a browser to look at the profile's page
#
# What is already there is left alone. Without root (or passwordless sudo) it prints what to
# install and goes on: the host target and every test that needs no emulator still work.
# PYTHON=python3.12 chooses the interpreter.
set -eu
cd "$(dirname "$0")"

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages; false if that is not possible here.
apt_install() {
    if ! has apt-get; then
        return 1
    elif [ "$(id -u)" = 0 ]; then
        sudo=
    elif has sudo && sudo -n true 2>/dev/null; then
        sudo=sudo
    else
        return 1
    fi
    say "apt-get install $*"
    apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y"
    # A fresh machine has no package list, an old one has a stale one: fetch it and try again.
    $apt install --no-install-recommends "$@" >&2 ||
        { $apt update >&2 && $apt install --no-install-recommends "$@" >&2; }
}

# The cross compiler's own answer: Debian packages its C library separately.
has_newlib() { echo '#include <string.h>' | arm-none-eabi-gcc -E - >/dev/null 2>&1; }

install_tools() {
    packages=
    has cc || packages="$packages gcc libc6-dev"
    has arm-none-eabi-gcc || packages="$packages gcc-arm-none-eabi"
    has_newlib || packages="$packages libnewlib-arm-none-eabi"
    has cmake || packages="$packages cmake"
    has qemu-system-arm || packages="$packages qemu-system-arm"
    has gdb-multiarch || packages="$packages gdb-multiarch"
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086  # a list of words
    apt_install $packages ||
        say "going on without these; what needs them will fail or be skipped:$packages" \
            "(Debian, Ubuntu: sudo apt-get install$packages)"
}

install_test_tools() {
    packages=
    has openocd || packages="$packages openocd"
    has clang || packages="$packages clang"
    # shellcheck disable=SC2086  # a list of words
    [ -z "$packages" ] || apt_install $packages ||
        say "going on without these; tests that need them will be skipped:$packages"
    # Apart from the rest: Ubuntu has it as a snap only.
    has chromium || has chromium-browser || has google-chrome || apt_install chromium ||
        say "going on without a browser; the test that looks at the profile's page will be skipped"
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# The newest supported interpreter on the PATH, or nothing.
find_python() {
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3}; do
        if supported "$name"; then
            echo "$name"
            return
        fi
    done
}

make_venv() {
    python=$(find_python)
    if [ -z "$python" ] && [ -z "${PYTHON:-}" ] && ! has python3; then
        apt_install python3 python3-venv || true
        python=$(find_python)
    fi
    if [ -z "$python" ]; then
        say "no Python 3.10 to 3.13 found (looked for: ${PYTHON:-python3.13 ... python3.10, python3})"
        say "install one, or name it: make PYTHON=/path/to/python3.13 ..."
        exit 2
    fi
    # Debian leaves ensurepip, which venv needs, to a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if ! apt_install "$package"; then
            say "$python cannot make virtual environments: sudo apt-get install $package"
            exit 2
        fi
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

# The stamp says that all is installed, and where: a copied or moved .venv still points to the old
# place. One without a stamp may be somebody's own, or half made.
stamp=.venv/.installed
usable_venv() {
    supported .venv/bin/python || return 1
    if [ -e $stamp ]; then
        [ "$(cat $stamp)" = "$PWD" ]
    else
        .venv/bin/python -c 'import pip' 2>/dev/null
    fi
}

install_tools
[ "${1:-}" != test ] || install_test_tools

mkdir -p .typing
[ -e .typing/tinyaot ] || ln -s .. .typing/tinyaot

usable_venv || make_venv

if [ ! -e $stamp ] || [ pyproject.toml -nt $stamp ]; then
    say "installing tinyaot and its Python packages into .venv; the first time takes minutes"
    .venv/bin/python -m pip install --disable-pip-version-check -e '.[boards,dask,demo,dev,ethos-u,oracle,plot,tune]' >&2
    echo "$PWD" >$stamp
fi
