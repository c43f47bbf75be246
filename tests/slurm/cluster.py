"""A real SLURM on this machine for the tests: accounting, one controller, three nodes, two GPUs that are none.

Nodes: ``c1`` without GPU, ``g1`` and ``g2`` with one each (character devices that stand for GPUs). Partitions: ``cpu``
(all nodes, default) and ``gpu``. Everything lies in one folder; only /etc/slurm gets two links, because the srun inside
a job looks nowhere else, and only if nothing is there yet.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "sbatch")
ETC = Path("/etc/slurm")
CTLD_PORT, DBD_PORT, NODE_PORTS = 16817, 16819, {"c1": 17001, "g1": 17002, "g2": 17003}
GPUS = {"g1": ("a100", 1), "g2": ("v100", 1)}
NODE_CPUS, NODE_MB = 4, 8000

SLURM_CONF = """\
ClusterName=covidpipe
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again waits as long as a credential lives: two minutes by default.
AuthInfo=cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={ctld_port}
# No cgroups: a container seldom lends them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
# A scheduler in a hurry.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,defer_batch,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SlurmctldTimeout=30
SlurmdTimeout=15
KillWait=5
# squeue must still know a finished job when Snakemake next asks.
MinJobAge=300
JobRequeue=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
AccountingStorageEnforce=associations,limits
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=cpu Nodes=c1,g1,g2 Default=YES MaxTime=01:00:00 DefaultTime=00:10:00 State=UP
PartitionName=gpu Nodes=g1,g2 MaxTime=01:00:00 DefaultTime=00:10:00 State=UP
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurmtest
StorageLoc=slurm_acct_db
"""


def why_not() -> str | None:
    """What keeps the cluster from being started here, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=search_path()) is None]
    if missing:
        return f"no SLURM on this machine ({', '.join(missing)} not found): .ci/run installs it"
    if os.geteuid() != 0:
        return "a SLURM of one's own is started as root"
    if (ETC / "slurm.conf").exists() and not (ETC / "slurm.conf").is_symlink():
        return f"{ETC}/slurm.conf is there: this machine belongs to a cluster"
    return None


def search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Cluster:
    """Started by `start`, ended by `stop`; `folder` holds its configuration, state and logs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {"PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}

    # --- Start and stop -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._configure()
        self._start_munge()
        self._start_database()
        self.start_dbd()
        for words in (
            ("add", "cluster", "covidpipe"),
            ("add", "account", "test"),
            ("add", "user", "root", "account=test", "adminlevel=admin"),
        ):
            self.run("sacctmgr", "-i", *words, check=False)  # fails where it is there already
        self.start_controller()
        for node in NODE_PORTS:
            self.start_node(node)
        self.wait(lambda: self.idle_nodes() == set(NODE_PORTS), "the nodes to be idle")

    def stop(self) -> None:
        self.run("scancel", "--user=root", check=False)
        self.end_orphans()
        for name in (*(f"slurmd-{node}" for node in NODE_PORTS), "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.end(name)
        for name in ("slurm.conf", "gres.conf"):
            link = ETC / name
            if link.is_symlink() and link.readlink().parent == self.folder:
                link.unlink()

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        nodes = []
        for node, port in NODE_PORTS.items():
            kind, count = GPUS.get(node, ("", 0))
            gres = f" Gres=gpu:{kind}:{count}" if count else ""
            nodes.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={NODE_CPUS} "
                f"RealMemory={NODE_MB}{gres} State=UNKNOWN"
            )
        values = {"folder": self.folder, "host": host, "ctld_port": CTLD_PORT, "dbd_port": DBD_PORT}
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values, nodes="\n".join(nodes)))
        dbd = self.folder / "slurmdbd.conf"
        dbd.write_text(SLURMDBD_CONF.format(**values))
        dbd.chmod(0o600)
        gpus = ["AutoDetect=off"]
        for node, (kind, count) in GPUS.items():
            for i in range(count):
                device = self.folder / f"{node}-gpu{i}"
                if not device.exists():
                    os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # a /dev/null by another name
            last = f"[0-{count - 1}]" if count > 1 else "0"
            gpus.append(f"NodeName={node} Name=gpu Type={kind} File={self.folder}/{node}-gpu{last}")
        (self.folder / "gres.conf").write_text("\n".join(gpus) + "\n")
        (self.folder / "state").mkdir(exist_ok=True)
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / name)

    def _start_munge(self) -> None:
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        run.chmod(0o755)
        if self.run("munge", "-n", check=False).returncode != 0:
            self.run("runuser", "-u", "munge", "--", "munged")
            self.wait(lambda: self.run("munge", "-n", check=False).returncode == 0, "munged")
            shutil.copy(run / "munged.pid", self.folder / "munged.pid")

    def _start_database(self) -> None:
        data, sock = self.folder / "mysql", self.folder / "my.sock"
        if not data.exists():
            data.mkdir()
            shutil.chown(data, "mysql")
            self.run(
                "mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db",
                "--auth-root-authentication-method=normal",
            )  # fmt: skip
        self.folder.chmod(0o777)  # mysql's socket
        log = (self.folder / "mariadbd.log").open("w")
        database = subprocess.Popen(
            [
                "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={sock}",
                "--skip-networking", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=48M",
                "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
            ],
            stdout=log, stderr=log, env=self.environment,
        )  # fmt: skip
        (self.folder / "mariadbd.pid").write_text(str(database.pid))
        client = ("mariadb", "--no-defaults", "-S", str(sock), "-e")
        self.wait(lambda: self.run(*client, "select 1", check=False).returncode == 0, "the database")
        self.run(
            *client,
            "create database if not exists slurm_acct_db; "
            "create user if not exists slurm@localhost identified by 'slurmtest'; "
            "grant all on slurm_acct_db.* to slurm@localhost",
        )

    def start_dbd(self) -> None:
        self.run("slurmdbd", MYSQL_UNIX_PORT=str(self.folder / "my.sock"))
        self.wait(lambda: self.run("sacctmgr", "-n", "show", "cluster", check=False).returncode == 0, "slurmdbd")

    def start_controller(self) -> None:
        self.run("slurmctld")
        self.wait(lambda: self.run("scontrol", "ping", check=False).returncode == 0, "slurmctld")

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self.run("slurmd", "-N", node)

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one of this cluster's own daemons, by the process id that it left, and wait until it is gone."""
        file = self.folder / f"{name}.pid"
        if not file.exists():
            return
        pid = int(file.read_text())
        try:
            os.kill(pid, how)
            for _ in range(100):
                time.sleep(0.1)
                if name == "mariadbd":
                    if os.waitpid(pid, os.WNOHANG) != (0, 0):  # our own child: it stays a zombie until waited for
                        break
                else:
                    os.kill(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        file.unlink(missing_ok=True)

    def mend(self) -> None:
        """All as at the start: no job, every daemon there, every node in service."""
        self.run("scancel", "--user=root", check=False)
        if self.run("scontrol", "ping", check=False).stdout.count("is UP") == 0:
            self.start_controller()
        for node in NODE_PORTS:
            if not self.running(f"slurmd-{node}"):
                self.start_node(node)
            self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self.wait(lambda: self.idle_nodes() == set(NODE_PORTS), "the nodes to be idle again")
        self.end_orphans()

    def end_orphans(self) -> None:
        """End what jobs left on a node that was set down: SLURM has given them up, and without cgroups they live on."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                variables = (process / "environ").read_bytes().split(b"\0")
                if ours in variables and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:  # gone by now
                continue

    def running(self, name: str) -> bool:
        """True if one of this cluster's own daemons is there."""
        try:
            os.kill(int((self.folder / f"{name}.pid").read_text()), 0)
        except (OSError, ValueError):
            return False
        return True

    # --- Use ------------------------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment | variables, capture_output=True, text=True, check=check, timeout=60
        )

    def wait(self, what: Callable[[], bool], name: str, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s for {name}; logs: {self.folder}")
            time.sleep(0.1)

    def idle_nodes(self) -> set[str]:
        return set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).stdout.split())

    def jobs(self, state: str = "RUNNING") -> list[dict[str, str]]:
        """Jobs that squeue knows in a state: id, comment (what Snakemake calls them), node and what they were given."""
        columns = "JobArrayID:|,Comment:|,NodeList:|,tres-alloc:|"
        listed = self.run("squeue", "--noheader", "--states", state, "-O", columns, check=False).stdout
        return [
            dict(zip(("id", "comment", "node", "given"), line.split("|")[:4], strict=True))
            for line in listed.splitlines()
        ]

    def accounted(self) -> list[dict[str, str]]:
        """Every job that the accounting has seen."""
        keys = ("id", "state", "comment", "node", "asked", "given")
        listed = self.run(
            "sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", "JobID,State,Comment,NodeList,ReqTRES,AllocTRES"
        ).stdout
        return [dict(zip(keys, line.split("|"), strict=True)) for line in listed.splitlines()]
