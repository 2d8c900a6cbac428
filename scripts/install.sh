#!/usr/bin/env bash
# install.sh FOLDER LOCK PYTHON: a virtual environment that holds exactly what the lock names, and the project of the
# working directory. FOLDER/installed is written last: it says that all of this is done.
set -euo pipefail
folder=$1 lock=$2 python=$3
started=$SECONDS

fail() { echo "$1" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	fail "$folder needs Python 3.11 or newer, and '$python' is not. Name one: make … PYTHON=python3.11 (for Aegra PYTHON312=python3.12)."

# An install that was stopped half way leaves packages that look whole to pip: such an environment is made anew.
[ -e "$folder/installed" ] && "$folder/bin/python" -m pip --version >/dev/null 2>&1 || {
	"$python" -m venv --clear "$folder" ||
		fail "'$python' could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv."
}
was_there=$([ -e "$folder/installed" ] && echo yes || echo no)
rm -f "$folder/installed"

pip() { "$folder/bin/python" -m pip "$1" --disable-pip-version-check "${@:2}"; }

echo "Installing the $(grep -c '^[A-Za-z0-9].*==' "$lock") packages of $lock into $folder; the first time it takes a minute or two …"
# Without dependencies, for the lock has them all. pip would look for them in the index, and pip 23, which Python 3.11
# brings, takes the newest of what is asked for with an extra, finds it is not the one in the lock, and stops.
# What has no wheel is built by the setuptools of the lock, which therefore comes first, not by the newest there is.
sed -n '/^setuptools==/,/[^\\]$/p' "$lock" >"$folder/setuptools.lock"
pip install --quiet --no-deps --require-hashes -r "$folder/setuptools.lock"
pip install --quiet --no-deps --require-hashes --no-build-isolation --use-pep517 -r "$lock"
pip install --quiet --no-deps --no-build-isolation -e .
if ! pip check; then
	[ $was_there = no ] || { echo "$folder holds what an earlier lock left. It is made anew."; exec "$0" "$@"; }
	fail "$lock lacks what it should name: 'make lock' writes it anew from pyproject.toml."
fi
touch "$folder/installed"
echo "Installed in $((SECONDS - started)) s."
