#!/usr/bin/env bash
# bash scripts/reference.sh            the figures and tables of results/reference anew, from the runs.csv that lies there
# bash scripts/reference.sh RUNS       the same from a folder of finished runs, of which it first writes runs.csv
# Trains nothing. results/reference/manifest.txt says what is drawn; the same runs give the same bytes with the libraries of
# results/reference/drawn_with.txt. Python is .venv's, or that of $PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
reference=results/reference
drawn=$(mktemp -d)
trap 'rm -rf "$drawn"' EXIT
mkdir "$drawn/none" "$drawn/out"

if [ $# -gt 0 ]; then
  "$python" -m normbench.collect data=digits --runs "$1" --reference "$reference"
fi
while read -r command words; do
  case $command in figures | tables) ;; *) continue ;; esac
  # Of the reference alone: whatever runs lie in results/runs.
  # shellcheck disable=SC2086
  "$python" -m "normbench.$command" $words --with-reference --runs "$drawn/none" --out "$drawn/out" </dev/null
done <"$reference/manifest.txt"
cp "$drawn"/out/*.png "$drawn"/out/*.svg "$drawn"/out/*.md "$reference/"
"$python" -c 'from importlib.metadata import version
for name in ("matplotlib", "numpy", "pandas", "pillow", "scipy"):
    print(f"{name}=={version(name)}")' >"$reference/drawn_with.txt"
