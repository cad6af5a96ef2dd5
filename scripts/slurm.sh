#!/usr/bin/env bash
# A sweep on a Slurm cluster, from its login node:   bash scripts/slurm.sh gn_fig1 data=digits hydra.launcher.partition=gpu
#
# The first argument is an experiment, the rest are overrides as everywhere. One job array, a cell a job; the command waits for
# all of them and prints the table. Preempted jobs and jobs at their time limit continue by themselves; for cells that were cut
# or failed run it again. tmux or nohup keeps it alive when you log out, and if it dies the jobs go on without it.
set -euo pipefail
source "$(dirname "$0")/venv.sh" "[slurm]"

experiment=${1:?an experiment, e.g. bash scripts/slurm.sh gn_fig1}
exec .venv/bin/normbench -m experiment="$experiment" hydra/launcher=slurm "${@:2}"
