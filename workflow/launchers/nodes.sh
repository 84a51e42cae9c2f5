#!/usr/bin/env bash
# One of the tasks that `srun` starts, one on each node: a torchrun that joins those of the others.
#   srun --ntasks-per-node=1 bash workflow/launchers/nodes.sh train can/can --scale paper
# PROCESSES is how many to start on a node (default: one for each GPU).
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
port=$((29500 + SLURM_JOB_ID % 1000)) # two jobs on a node do not meet
exec torchrun \
    --nnodes="$SLURM_NNODES" --node-rank="$SLURM_NODEID" \
    --nproc-per-node="${PROCESSES:-gpu}" \
    --master-addr="$first" --master-port="$port" \
    -m -- reprise "$@" # `--`: no option of a verb is one of torchrun's
