"""One cluster for all tests of this folder, or the reason why there is none; one study that all of them begin with."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, search_path, why_not
from tests.slurm.study import TABLE, Study, begun, copied


@pytest.fixture(scope="session")
def cluster():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path has 107 characters
    found = Cluster(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def local(tmp_path_factory) -> Study:
    """The study, run to its table on this machine without SLURM: what every run on the cluster must equal."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    study = Study(tmp_path_factory.mktemp("local") / "study", os.environ | {"PATH": search_path()})
    assert study.run(TABLE, "--cores", "2", "--configfile", "study.yaml") == 0, study.said
    return study


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """A test that failed may have left its run: it would keep the cluster from the next one."""
    yield
    while begun:
        process = begun.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def segmented(cluster, local, tmp_path):
    """Make a study with segmented shards, its profile changed as told."""

    def make(name: str = "study", **profile) -> Study:
        study = copied(local, tmp_path / name, **profile)
        study.environment |= {"SLURM_CONF": cluster.environment["SLURM_CONF"]}
        return study

    yield make
    cluster.mend()
