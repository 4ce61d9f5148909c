"""A SLURM of one node on this machine, for as long as a test needs it: munged, slurmctld and slurmd as this user.

All listen on 127.0.0.1, all files lie in one folder, and two other devices stand for two GPUs. The node claims more
cores and memory than there may be, so that the profile's own requests are tried, not smaller ones.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

CARDS = ["/dev/null", "/dev/zero"]  # SLURM hands out device files, whatever they are
CPUS = 18
SBIN = "/usr/sbin:/sbin"
CONF = """\
ClusterName=heal
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
MinJobAge=3600
KillWait=5
MpiDefault=none
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000000 Gres=gpu:fake:{cards} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def find_program(name):
    path = shutil.which(name, path=f"{os.environ['PATH']}:{SBIN}")
    assert path, f"{name} is not installed: make test-slurm installs it"
    return path


def find_free_ports(count):
    """Ports of 127.0.0.1 that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def start_slurm_node(folder):
    """Starts the node in an empty folder and yields its users' environment; stops it and its jobs at the end."""
    folder = Path(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    for card, device in enumerate(CARDS):
        (folder / f"card{card}").symlink_to(device)
    host = socket.gethostname().partition(".")[0]
    facts = {"host": host, "user": getpass.getuser(), "folder": folder, "cpus": CPUS, "cards": len(CARDS)}
    (folder / "slurm.conf").write_text(CONF.format(**facts, ports=find_free_ports(2)))
    (folder / "gres.conf").write_text(f"Name=gpu Type=fake File={folder}/card[0-{len(CARDS) - 1}]\n")
    srun = folder / "bin/srun"  # the plugin's job step drops SLURM_CONF from the environment of its srun
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {find_program("srun")} "$@"\n')
    srun.chmod(0o755)
    path = f"{srun.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in ("key-file", "socket", "pid-file")]
    munge += [f"--seed-file={folder}/munge.seed", "--force", "--foreground"]
    with ExitStack() as stack:
        for name, arguments in (("munged", munge), ("slurmctld", ["-D"]), ("slurmd", ["-D", "-N", host])):
            stack.enter_context(daemon(find_program(name), arguments, environment, folder / f"{name}.out"))
            if name == "munged":
                wait(lambda: (folder / "munge.socket").exists(), folder)
        stack.callback(stop_jobs, environment)
        wait(lambda: "idle" in read_output(["sinfo", "-h", "-o", "%T"], environment), folder)
        yield environment


@contextmanager
def daemon(name, arguments, environment, log):
    with open(log, "w") as stream:
        process = subprocess.Popen([name, *arguments], env=environment, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_output(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout


def stop_jobs(environment):
    for job in read_output(["squeue", "-h", "-o", "%i"], environment).split():
        read_output(["scancel", job], environment)
    until = time.monotonic() + 20
    while read_output(["squeue", "-h"], environment).strip() and time.monotonic() < until:
        time.sleep(0.5)


def wait(ready, folder, seconds=60):
    until = time.monotonic() + seconds
    while not ready():
        files = [*folder.glob("*.out"), *folder.glob("*.log")]
        logs = "\n".join(f"{file}:\n{file.read_text()[-1500:]}" for file in files)
        assert time.monotonic() < until, f"the SLURM node does not come up\n{logs}"
        time.sleep(0.2)
