#!/usr/bin/env bash
# Sets up .venv with the dev extra and runs the tests: bash scripts/test.sh [pytest's arguments]
set -euo pipefail
source "$(dirname "$0")/venv.sh" "[dev]"

# The report is tested in a browser: Debian's chromium where it can be installed, else those tests are skipped.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's chromium for the report's tests"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null ||
    echo "chromium could not be installed: the report's browser tests are skipped"
fi

export OMP_NUM_THREADS=1 # the tests run as many processes as there are cores
.venv/bin/python -m pytest -n auto "$@"
