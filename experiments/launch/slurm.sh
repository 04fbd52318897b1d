#!/bin/bash
# jaxdl on several nodes of a Slurm cluster, one process a GPU:
#
#   sbatch experiments/launch/slurm.sh --config configs/imagenet_resnet50.py --workdir runs/resnet50
#
# The working directory must be one that all nodes see. When time is up Slurm sends SIGTERM, two
# minutes early: the state is saved, and the job put in the queue again, which resumes it.

#SBATCH --job-name=jaxdl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

# Without --kill-on-bad-exit srun would wait for the others where one process has failed.
srun --kill-on-bad-exit=1 jaxdl train --distributed "$@"
status=$?

if [[ $status -eq 143 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
