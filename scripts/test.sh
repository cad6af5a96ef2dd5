#!/usr/bin/env bash
# Sets up .venv with the dev extra and runs the tests: bash scripts/test.sh [pytest's arguments]
set -euo pipefail
source "$(dirname "$0")/venv.sh" "[dev]"

export OMP_NUM_THREADS=1 # the tests run as many processes as there are cores
.venv/bin/python -m pytest -n auto "$@"
