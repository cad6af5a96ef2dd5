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

# Sweeps are tested on a real Slurm, which the tests start for themselves: likewise.
if ! command -v slurmctld >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's Slurm for the tests of hydra/launcher=slurm"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    slurmctld slurmd slurm-client munge >/dev/null || echo "Slurm could not be installed: its tests are skipped"
fi

export OMP_NUM_THREADS=1         # the tests run as many processes as there are cores
export PYTHONDONTWRITEBYTECODE= # they start hundreds: only the first is to compile the package
.venv/bin/python -m pytest -n auto --dist loadgroup "$@" # the tests that start a cluster run one after the other
