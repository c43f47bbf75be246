"""How many cores this process may use, and the libraries that must be told before they are imported."""

from __future__ import annotations

import os

# Read by OpenMP, OpenBLAS, MKL, NumExpr, OpenCV; Arrow obeys OpenMP's.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def available_cores() -> int:
    """Cores this process may use: what SLURM gave, and never more than the machine allows.

    In a job that is ``SLURM_CPUS_PER_TASK``, or where cores were asked for in another way (for each GPU, say) what the
    job has of its node (``SLURM_CPUS_ON_NODE``). A cluster that does not bind processes to their cores relies on it.
    """
    allowed = len(os.sched_getaffinity(0))
    for variable in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        given = os.environ.get(variable, "")
        if given.isdigit() and int(given) > 0:
            return min(int(given), allowed)
    return allowed


def limit_libraries() -> None:
    """In a SLURM job, keep every library's own threads to the job's cores; elsewhere nothing is changed.

    Snakemake tells some of them the threads of the rule, which may be more than a job was given.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return
    cores = available_cores()
    for variable in THREAD_VARIABLES:
        told = os.environ.get(variable, "")
        os.environ[variable] = str(min(int(told), cores) if told.isdigit() and int(told) > 0 else cores)


def private_files() -> None:
    """Let nobody outside the user's group read what is written from here on; the group may what the umask says.

    A cluster's disks are shared, and tables of patients are made on them.
    """
    os.umask(os.umask(0o077) | 0o007)
