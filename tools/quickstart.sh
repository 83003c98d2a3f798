#!/usr/bin/env bash
# From a machine with only Python 3.11 or 3.12 to a certified world:
#
#   tools/quickstart.sh [PHOTO]
#
# Makes .venv, installs the package, generates a world from PHOTO (or from a CC0 photo that comes with the project) into
# worlds/<name of the photo>, drives a robot through it in PhysX and says where to look. Running it again is quick.
# Exit code: 0 certified, 1 finished but not certified, otherwise as `lyra-worldgen` says (2 input, 3 missing, 4 failed).
#
# LYRA_PYTHON   interpreter to use         LYRA_TORCH   requirement for torch, e.g. "torch==2.9.1"
set -euo pipefail

[ $# -le 1 ] || { echo "usage: tools/quickstart.sh [PHOTO]" >&2; exit 2; }
photo="${1:-}"
case "$photo" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    "" | /*) ;;
    *) photo="$PWD/$photo" ;;
esac
. "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
cd "$ROOT"
photo="${photo:-$ROOT/tests/data/photos/lobby.png}"
[ -f "$photo" ] || { say "error: there is no such photo; give the path of a picture file: $photo"; exit 2; }

python="$(find_python 3.11 3.12)" ||
    die "no Python 3.11 or 3.12 found; install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or name it in LYRA_PYTHON"
[ -f .venv/.lyra-installed ] || { need_disk 5000; say "installing into $ROOT/.venv, once (some minutes) ..."; }
SECONDS=0
make_venv .venv "$python"
# Other extras may be there already (tools/test.sh adds the developer's); what is installed stays.
extras="gen,recon,sim,physx,evaluate"
if [ -f .venv/.lyra-installed ] && grep -q '^dev,' .venv/.lyra-installed; then extras="dev,$extras,models,train"; fi
install_package .venv "$extras"
if [ ! -f .venv/.lyra-probed ] || [ .venv/.lyra-installed -nt .venv/.lyra-probed ]; then
    .venv/bin/python tools/probe_install.py "$extras" || exit 3
    touch .venv/.lyra-probed
fi
installed_s=$SECONDS

name="$(basename "$photo")"
world="worlds/${name%.*}"
SECONDS=0
status=0
.venv/bin/lyra-worldgen generate "$photo" --out "$world" || status=$?
generated_s=$SECONDS
[ "$status" -le 1 ] || exit "$status"
cat <<END

installation $installed_s s, world and certificate $generated_s s
with your own photo:  tools/quickstart.sh PHOTO
all commands:         .venv/bin/lyra-worldgen --help
END
exit "$status"
