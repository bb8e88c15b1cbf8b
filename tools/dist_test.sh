#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG GPUS [arguments of tools/test.py]
#
# On several machines, on each: NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST PORT=29500, with the rank of
# the machine and the address of the first. TORCHRUN_ARGS are further arguments of torchrun, as
# TORCHRUN_ARGS="--max-restarts=3".
set -euo pipefail

CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}

# One thread per process unless told otherwise; mmengine would warn and do the same.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

# TORCHRUN_ARGS may hold several words.
# shellcheck disable=SC2086
exec python -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --nproc_per_node="$GPUS" \
    --master_port="$PORT" \
    ${TORCHRUN_ARGS:-} \
    "$(dirname "$0")/test.py" "$CONFIG" --launcher pytorch "${@:3}"
