#!/usr/bin/env bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --job-name=normbench
#SBATCH --output=%x-%j.log
#SBATCH --requeue
# One run, or a sweep cell by cell, on the GPUs of several nodes, without any launcher of ours:
#
#     sbatch --gpus-per-node=8 scripts/multi_node.sh norm=syncbn batch=2 data=imagenet data.root=FOLDER
#     sbatch --nodes=4 scripts/multi_node.sh -m norm=bn,syncbn batch=2,4 device=cpu
#
# Slurm starts one torchrun a node, and each torchrun one rank a GPU (without GPUs: one). Numbers do not depend on how many
# there are; their number must divide workers. A job that is started again continues from its last checkpoint.
set -euo pipefail

python=${PYTHON:-$PWD/.venv/bin/python} # sbatch from the checkout; made by scripts/demo.sh, or PYTHON=/path/to/python
ranks=${SLURM_GPUS_ON_NODE:-1}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 40000)) # two jobs on one node do not meet
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-$ranks} / ranks > 0 ? ${SLURM_CPUS_PER_TASK:-$ranks} / ranks : 1))}

exec srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$python" -m torch.distributed.run \
  --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$ranks" \
  --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$head:$port" \
  -m normbench "$@"
