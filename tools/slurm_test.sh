#!/usr/bin/env bash
# Evaluate under Slurm: tools/slurm_test.sh PARTITION JOB_NAME CONFIG [arguments of tools/test.py]
#
# GPUS processes (8), GPUS_PER_NODE of them on a node (8, or GPUS if that is less), each with
# CPUS_PER_TASK cores (5). On a partition without GPUs: GPUS_PER_NODE=0, and GPUS processes.
# SRUN_ARGS are further arguments of srun, as SRUN_ARGS="--ntasks-per-node=2 --mem=16G".
set -euo pipefail

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}

if [ "$GPUS_PER_NODE" -gt 0 ]; then
    SRUN_ARGS="--gres=gpu:$GPUS_PER_NODE --ntasks-per-node=$GPUS_PER_NODE ${SRUN_ARGS:-}"
fi

# One thread per process unless told otherwise; mmengine would warn and do the same.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

# SRUN_ARGS may hold several words.
# shellcheck disable=SC2086
exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --ntasks="$GPUS" \
    --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$CONFIG" --launcher slurm "${@:4}"
