#!/usr/bin/env bash
# A campaign on several machines of Slurm: sbatch examples/slurm.sh
# Submit it again after a time limit or a lost machine: what is finished is not computed again.
#SBATCH --job-name=distillbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive                            # at the end, Ray stops all Ray of this user on the machines
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --output=distillbench-%j.log
set -euo pipefail

checkout=${CHECKOUT:-$SLURM_SUBMIT_DIR}        # with .venv, on a disk that all machines share
runs=${RUNS:-$checkout/runs}                   # shared as well, or a bucket
data=${BENCHMARK_DATA:-$checkout/data}         # shared, or a copy at the same path of each machine
suite=${SUITE:-main}

# One secret for all machines of this job: without one, whoever reaches Ray's ports can run code.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_TOKEN

mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
read -r ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="${machines[0]}" hostname --ip-address)
address=$ip:$((20000 + SLURM_JOB_ID % 20000))

cd "$checkout"
# Starts Ray on every machine, and the driver on the first one when all have joined; Ray ends with the driver.
srun --export=ALL .venv/bin/ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  .venv/bin/python -m benchmark run --suite "$suite" --ray "$address" --runs "$runs" --data "$data"
