#!/usr/bin/env bash
# Makes every environment the tests need and runs everything:
#
#   tools/test.sh [--fast] [pytest arguments]
#
# --fast leaves out what is slow or drives PhysX, pyright, a browser and the other environments (Python 3.12, SimReady,
# Isaac Lab): the inner loop, some three minutes once installed. Ends with pytest's closing line; the exit code is 0
# only if every check passed.
set -uo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"
fast=""
if [ "${1:-}" = --fast ]; then fast=1; shift; fi

failed=()
# step NAME COMMAND...: runs a check, remembers its failure and goes on, so that one run shows everything.
step() {
    local name="$1"
    shift
    say "== $name"
    "$@" || { failed+=("$name"); say "-- $name FAILED"; }
}

python="$(find_python 3.11 3.12)" || die "no Python 3.11 or 3.12 found; install one or name it in LYRA_PYTHON"
[ -f .venv/.lyra-installed ] || { need_disk 6000; say "installing into $ROOT/.venv, once (some minutes) ..."; }
make_venv .venv "$python"
extras=dev,gen,recon,sim,physx,newton,convex,evaluate,metrics,models,train,serve,explore,ray,site
install_package .venv "$extras"
# pyright runs on Node.js; a machine without one gets it as a wheel.
[ -n "$fast" ] || command -v node >/dev/null 2>&1 || pip_install .venv 'pyright[nodejs]'
[ -n "$fast" ] || { install_browser; install_page_tools; }
bin="$ROOT/.venv/bin"

step "installation" "$bin/python" tools/probe_install.py "$extras"
step "ruff check" "$bin/ruff" check -q .
step "ruff format" "$bin/ruff" format -q --check .
if [ -z "$fast" ]; then step "pyright" env PYRIGHT_PYTHON_IGNORE_WARNINGS=1 "$bin/pyright"; fi
for check in tools/check_*.py; do
    step "$check" "$bin/python" "$check"
done
step "changelog" "$bin/python" tools/changelog.py

if [ -z "$fast" ]; then
    # The other supported Python, with no optional package at all: what has to be light is light there too.
    if other="$(find_python 3.12)" && [ "$("$bin/python" -c 'import sys; print(sys.version_info[1])')" != 12 ]; then
        make_venv .venv312 "$other"
        install_package .venv312 test
        step "Python 3.12, core only" .venv312/bin/python -m pytest -q -p no:cacheprovider \
            tests/core tests/kit tests/session/test_worker.py tests/test_imports.py tests/test_layers.py tests/test_manifests.py
    else
        say "== Python 3.12, core only: skipped, no second interpreter of version 3.12 on this machine"
    fi
    # SimReady's rules change what other validators check, so they live apart (tests find the environment by this name).
    make_venv .venv-simready "$python"
    install_package .venv-simready simready
    export LYRA_SIMREADY_PYTHON="$ROOT/.venv-simready/bin/python"
    # Isaac Lab without Kit. Its Warp kernels are compiled once and kept with the environment.
    if lab_python="$(find_python 3.12)"; then
        make_venv .venv-lab "$lab_python"
        install_lab .venv-lab
        step "Isaac Lab" env WARP_CACHE_PATH="$ROOT/.venv-lab/warp-cache" \
            .venv-lab/bin/python -m pytest -q -p no:cacheprovider tests/tasks
    else
        say "== Isaac Lab: skipped, no Python 3.12 on this machine"
    fi
fi

# Two gibibytes a test process, and no more processes than cores.
jobs="$(awk -v cores="$(nproc)" '/MemAvailable/ { n = int($2 / 4194304); if (n > cores) n = cores; print (n > 1 ? n : 1) }' /proc/meminfo)"
options=(-n "$jobs" --dist loadgroup)
if [ "$jobs" -le 1 ]; then options=(); fi
if [ -n "$fast" ]; then options+=(-q --hypothesis-profile fast -m "not slow and not physx and not newton"); fi
if [ ${#failed[@]} -gt 0 ]; then say "== failed so far: ${failed[*]}"; fi
say "== pytest"
status=0
"$bin/python" -m pytest "${options[@]}" "$@" || status=$?
if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED besides pytest: ${failed[*]}"
    [ "$status" -ne 0 ] || status=1
fi
exit "$status"
