"""Who trains together: the workers that `TF_CONFIG` or a Slurm step names."""

import json
import os
import re
from dataclasses import dataclass

from dino_tf.errors import UserError

EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
# Jobs whose tasks train, in TensorFlow's order: the first task is the chief.
JOBS = ("chief", "worker")
# Steps of different jobs on one machine keep apart: 16 ports for each job number.
FIRST_PORT, PORTS, PORTS_OF_A_JOB = 10_000, 20_000, 16


@dataclass(frozen=True)
class Cluster:
    """The workers of one training, and which of them this process is.

    Attributes:
        tasks: (job, number in the job, "host:port") of each worker, the chief first.
        index: Place of this process in `tasks`.
        reason: Where that is known from, for a person.
    """

    tasks: tuple[tuple[str, int, str], ...]
    index: int
    reason: str

    def __len__(self):
        return len(self.tasks)

    @property
    def task(self):
        """(job, number in the job) of this process."""
        return self.tasks[self.index][:2]

    def address(self, index):
        """(host, port) of a worker."""
        host, _, port = self.tasks[index][2].rpartition(":")
        return host.strip("[]"), int(port)

    def name(self, index):
        """What a worker is called in messages: "worker 1 (10.0.0.2:2222)"."""
        job, number, address = self.tasks[index]
        return f"{job} {number} ({address})"

    def jobs(self):
        """{job: its addresses}, as `tf.train.ClusterSpec` takes it."""
        found = {}
        for job, _, address in self.tasks:
            found.setdefault(job, []).append(address)
        return found


def find_cluster(strategy="auto"):
    """The workers that the environment names, when `strategy` leaves room for them.

    Args:
        strategy: `run.strategy`; only "auto" and "multi_worker" look for workers.

    Returns:
        `Cluster`, or None when this process trains by itself.

    Raises:
        UserError: When `TF_CONFIG` or Slurm's variables make no sense, or workers are
            asked for and none are named.
    """
    if strategy not in ("auto", "multi_worker"):
        return None
    found = None
    if os.environ.get("TF_CONFIG", "").strip():
        found = of_tf_config(os.environ["TF_CONFIG"])
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        found = of_slurm()
    if strategy == "multi_worker" and found is None:
        raise UserError(
            "run.strategy: got multi_worker, but neither TF_CONFIG nor a Slurm step "
            f"names more than one worker; allowed: TF_CONFIG such as {EXAMPLE}, or "
            "srun with more than one task"
        )
    return found


def of_tf_config(text):
    """`Cluster` that the text of `TF_CONFIG` describes; None for a single worker.

    Raises:
        UserError: When it is not of the form of `EXAMPLE`.
    """
    try:
        value = json.loads(text)
        cluster, task = value.get("cluster", {}), value.get("task", {})
        lists = {job: list(addresses) for job, addresses in cluster.items()}
        job, number = task.get("type"), task.get("index")
    except (ValueError, AttributeError, TypeError) as error:
        raise _wrong_config(text) from error
    if set(lists) - set(JOBS):
        # Parameter servers and evaluators have no place in synchronous training.
        raise _wrong_config(", ".join(lists), "TF_CONFIG's cluster: got the jobs")
    tasks = tuple((j, n, a) for j in JOBS for n, a in enumerate(lists.get(j, ())))
    for *_, address in tasks:
        if not isinstance(address, str) or not re.fullmatch(r".+:\d{1,5}", address):
            raise _wrong_config(address, "TF_CONFIG: got the address")
    if len({address for *_, address in tasks}) < len(tasks):
        raise _wrong_config(lists, "TF_CONFIG: got an address twice,")
    if len(tasks) < 2:
        return None
    places = [place for place, t in enumerate(tasks) if t[:2] == (job, number)]
    if not places or isinstance(number, bool):
        raise _wrong_config(task, "TF_CONFIG's task: got")
    return Cluster(tasks, places[0], f"TF_CONFIG names {len(tasks)} workers")


def _wrong_config(received, words="TF_CONFIG: got"):
    return UserError(f"{words} {received}; allowed: such as {EXAMPLE}")


def of_slurm():
    """`Cluster` of the tasks of this Slurm step; None when it has one task.

    TensorFlow's resolver says which hosts and ports there are. It sorts hosts as
    text, where Slurm numbers its tasks with n9 before n10, so the order is mended.

    Raises:
        UserError: When this process was not started by `srun`, or the tasks are not
            placed block by block.
    """
    environ = os.environ
    total = environ["SLURM_NTASKS"]
    if "SLURM_STEP_NUM_TASKS" not in environ:
        raise UserError(
            f"SLURM_NTASKS is {total}, but this process is not one of {total} that "
            "srun started; allowed: srun before the command, or --run.strategy "
            "mirrored or none for this machine alone"
        )
    if int(environ["SLURM_STEP_NUM_TASKS"]) < 2:
        return None
    addresses = sorted(_slurm_addresses(), key=_by_numbers)
    index = int(environ["SLURM_PROCID"])
    here = environ.get("SLURMD_NODENAME")
    host = addresses[index].partition(":")[0] if index < len(addresses) else "no host"
    if here and here != host:
        raise UserError(
            f"Slurm's task {index} runs on {here}, but block by block it would be on "
            f"{host}; allowed: srun --distribution=block"
        )
    tasks = tuple(("worker", number, text) for number, text in enumerate(addresses))
    return Cluster(tasks, index, f"a Slurm step of {len(tasks)} tasks")


def _slurm_addresses():
    import tensorflow as tf

    port = int(os.environ.get("SLURM_JOB_ID", 0)) * PORTS_OF_A_JOB % PORTS + FIRST_PORT
    try:
        # One "GPU" a task, left alone, is all that it wants to know where there is
        # none; GPUs are what TensorFlow sees.
        counts = re.findall(r"\d+", os.environ["SLURM_STEP_TASKS_PER_NODE"])
        most = max(map(int, counts))
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=most, gpus_per_task=1, auto_set_gpu=False
        )
        return resolver.cluster_spec().as_dict()["worker"]
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Slurm's variables do not describe a step ({error}); allowed: those that "
            "srun sets (SLURM_PROCID and SLURM_STEP_...)"
        ) from error


def _by_numbers(address):
    parts = re.split(r"(\d+)", address)
    return [int(part) if part.isdigit() else part for part in parts]
