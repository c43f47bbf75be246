"""SLURM and Snakemake watched from outside: what a run is doing, why a job failed, whether a node fits."""
