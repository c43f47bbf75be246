#!/bin/bash
# Runs once, inside the new conda environment: the locked packages for GPUs, and this covidpipe.
# Snakemake copies this file away, so the Snakefile tells where the project is (COVIDPIPE_ROOT).
set -euo pipefail
root=${COVIDPIPE_ROOT:?"is not set: run snakemake with this project's Snakefile"}
python -m pip install --quiet --require-hashes --requirement "$root/envs/gpu.lock"
python -m pip install --quiet --no-deps --no-build-isolation --editable "$root"
