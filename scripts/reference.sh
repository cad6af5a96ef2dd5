#!/usr/bin/env bash
# bash scripts/reference.sh [RUNS]     the figures and tables of results/reference anew, from a folder of finished runs
# RUNS (default results/runs) is filled by the experiments that results/reference/README.md names. Trains nothing; the same
# runs give the same bytes. Python is .venv's, or that of $PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-results/runs}
python=${PYTHON:-.venv/bin/python}
figures="all_norms gn_fig1 gn_fig4 gn_fig5 cbn_fig1 cbn_window mabn_fig mabn_errors wj_fig evonorm_fig"

drawn=$(mktemp -d)
trap 'rm -rf "$drawn"' EXIT
# shellcheck disable=SC2086
"$python" -m normbench.figures $figures data=digits --runs "$runs" --out "$drawn"
"$python" -m normbench.tables summary gn_table2 data=digits --runs "$runs" --out "$drawn"
cp "$drawn"/*.png "$drawn"/*.svg "$drawn"/*.md results/reference/
