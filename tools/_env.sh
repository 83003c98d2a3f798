# Sourced by quickstart.sh and test.sh: finding Python, making virtual environments, installing this package into them.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What isaaclab 3.0.0 pins.
LAB_TORCH=2.11.0
LAB_TORCHVISION=0.26.0

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 3; }

# python_is PYTHON VERSION: the command runs and is that minor version (a pyenv shim may exist and still not run).
python_is() {
    [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$2" ]
}

# find_python VERSION...: prints the first interpreter of one of these minor versions, in that order of preference.
find_python() {
    local version candidate
    for version in "$@"; do
        for candidate in "${LYRA_PYTHON:-}" "python$version" python3 python \
            "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python3; do
            if [ -n "$candidate" ] && python_is "$candidate" "$version"; then
                command -v "$candidate"
                return 0
            fi
        done
    done
    return 1
}

# need_disk MIB: stops unless the checkout's disk has that much room.
need_disk() {
    local free
    free="$(df -Pm "$ROOT" | awk 'NR == 2 { print $4 }')"
    [ "$free" -ge "$1" ] || die "only $free MiB are free on the disk of $ROOT, about $1 MiB are needed; free some space and run this again"
}

# make_venv DIR PYTHON: a virtual environment that works; a broken one is made anew, a foreign folder left alone.
make_venv() {
    local dir="$1" python="$2" options=()
    if [ -x "$dir/bin/python" ] && "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    if [ -e "$dir" ]; then
        [ -f "$dir/pyvenv.cfg" ] || die "$dir exists and is no virtual environment; move it away and run this again"
        options=(--clear)
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$("$python" --version) has no venv module; on Debian and Ubuntu: apt-get install $(basename "$(readlink -f "$python")")-venv"
    # A CUDA build of torch that already works on this machine is worth more than any that we could choose.
    if has_gpu && "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        say "using the CUDA torch of $python"
        options+=(--system-site-packages)
    fi
    "$python" -m venv "${options[@]}" "$dir" || die "cannot make a virtual environment in $dir; the lines above say why"
    # Python's own copy of pip may be years old, with holes that are known; an old one works where no new one is reached.
    pip_install "$dir" --upgrade 'pip>=26' 2>/dev/null || true
}

has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

# Errors stay visible; notices of registries and of newer pips do not.
pip_install() {
    local venv="$1"
    shift
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore "$@"
}

# install_torch VENV: torch that suits the machine, before anything else asks for it and gets several GB of CUDA.
install_torch() {
    local venv="$1"
    "$venv/bin/python" -c 'import torch' 2>/dev/null && return 0
    if [ -n "${LYRA_TORCH:-}" ]; then
        pip_install "$venv" "$LYRA_TORCH" || die "cannot install LYRA_TORCH=$LYRA_TORCH; the lines above say why"
        return 0
    fi
    if has_gpu || [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
        return 0 # the registry's default build is the right one, the package's own requirement brings it
    fi
    say "no NVIDIA GPU: installing the CPU build of torch"
    # Where the CPU wheels come from is configured differently everywhere: pip's own settings, then uv's knowledge.
    pip_install "$venv" 'torch==2.13.0+cpu' 2>/dev/null && return 0
    if pip_install "$venv" uv 2>/dev/null &&
        "$venv/bin/python" -m uv pip install -q --python "$venv/bin/python" --torch-backend cpu 'torch>=2.5' 2>/dev/null; then
        return 0
    fi
    say "no CPU build of torch can be reached; the standard build works too, its download takes several GB"
    need_disk 12000
    pip_install "$venv" 'torch>=2.5' || die "cannot install torch; the lines above say why"
}

# install_lab VENV: Isaac Lab without Kit, this checkout and its tasks, editable. No extra that brings usd-core may be
# asked for here: Isaac Lab's pxr comes from usd-exchange, and both packages own the same files.
install_lab() {
    local venv="$1" stamp want
    stamp="$venv/.lyra-installed"
    want="$("$venv/bin/python" -c 'import hashlib, sys; print(sys.version.split()[0], *(hashlib.sha256(open(p, "rb").read()).hexdigest() for p in sys.argv[1:]))' "$ROOT/pyproject.toml" "$ROOT/robot_tasks/pyproject.toml")"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
        return 0
    fi
    # Isaac Lab pins torch; its CPU build, where pip is told of one, saves 4 GB of CUDA libraries.
    if ! has_gpu && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
        pip_install "$venv" "torch==$LAB_TORCH+cpu" "torchvision==$LAB_TORCHVISION+cpu" 2>/dev/null || need_disk 14000
    fi
    pip_install "$venv" -e "$ROOT[tasks,test]" -e "$ROOT/robot_tasks[lab,splats]" ||
        die "installing Isaac Lab into $venv failed; the lines above say why (no network? disk full?)"
    printf '%s\n' "$want" >"$stamp"
}

# install_package VENV EXTRAS: this checkout, editable; done again only when what it asks for has changed.
install_package() {
    local venv="$1" extras="$2" stamp want
    stamp="$venv/.lyra-installed"
    want="$extras $("$venv/bin/python" -c 'import hashlib, sys; print(sys.version.split()[0], hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$ROOT/pyproject.toml")"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
        return 0
    fi
    case ",$extras," in *,gen,*) install_torch "$venv" ;; esac
    pip_install "$venv" -e "$ROOT[$extras]" || die "installing lyra-worldgen[$extras] failed; the lines above say why (no network? disk full?)"
    printf '%s\n' "$want" >"$stamp"
}

# install_browser: Chromium, in which exported pages are tested, where Debian's packages may be installed; elsewhere the
# tests say what they miss.
install_browser() {
    command -v chromium >/dev/null 2>&1 && return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "no chromium: tests of exported pages are skipped (on Debian: apt-get install chromium)"
        return 0
    fi
    say "installing Debian's chromium for the tests of exported pages ..."
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium libgl1-mesa-dri; } >/dev/null 2>&1 ||
        say "chromium cannot be installed: tests of exported pages are skipped"
}

# install_page_tools: what builds the exported page, as its lock file says; done again only when that has changed.
install_page_tools() {
    local folder="$ROOT/tools/web" stamp want
    if ! command -v npm >/dev/null 2>&1; then
        say "no npm: the exported page is not built anew for comparison"
        return 0
    fi
    stamp="$folder/node_modules/.lyra-installed"
    want="$(cksum <"$folder/package-lock.json")"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
        return 0
    fi
    if (cd "$folder" && npm ci --silent >/dev/null 2>&1); then
        printf '%s\n' "$want" >"$stamp"
    else
        say "npm ci failed in $folder: the exported page is not built anew for comparison"
    fi
}
