# Sourced by the other scripts: a virtual environment in .venv with the project and the extras named in $1 installed.
# Stops with one clear line where Python is missing, too old or too new, or where a step fails.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "normbench: $*" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "no $python here; install Python 3.10 to 3.13, or name one: PYTHON=python3.12 bash $0"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' ||
  fail "needs Python 3.10 to 3.13, and $python is $("$python" -V); name another: PYTHON=python3.12 bash $0"

if [ ! -x .venv/bin/python ]; then
  echo "Making the virtual environment .venv ($("$python" -V))"
  "$python" -m venv .venv || fail "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"
fi

installed=".venv/installed$1" # for each set of extras the pyproject.toml that it was installed from
if ! cmp -s pyproject.toml "$installed"; then
  echo "Installing normbench and what it needs into .venv (PyTorch is large: minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1" || fail "pip install failed, see above"
  cp pyproject.toml "$installed"
fi
