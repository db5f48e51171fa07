"""What runs where: hardware facts, the strategy, and sums over replicas."""

import contextlib
import dataclasses
import functools
import gc
import os
import pathlib
import platform
import subprocess

import keras

from dino_tf.errors import UserError, first_line


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What the machine offers to a training.

    Attributes:
        num_gpus: GPUs that TensorFlow sees.
        gpu_name: Name of the first GPU, or None.
        compute_capability: Lowest of the GPUs as (major, minor), or None.
        gpu_memory_gb: Memory of the smallest GPU in GB, or None where unknown.
        num_cores: Processor cores this process may use.
        cpu_has_bf16: Whether the processor multiplies bfloat16 natively.
        memory_gb: Main memory that this process may use in GB, or None.
        num_cpu_devices: Logical CPU devices of TensorFlow.
        gpus: What tells the GPUs of this process from those of others on the machine.
    """

    num_gpus: int = 0
    gpu_name: str | None = None
    compute_capability: tuple[int, int] | None = None
    gpu_memory_gb: float | None = None
    num_cores: int = 1
    cpu_has_bf16: bool = False
    memory_gb: float | None = None
    num_cpu_devices: int = 1
    gpus: str | None = None


def find_hardware():
    """Hardware of this machine, as TensorFlow sees it."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [d.get("compute_capability") for d in details]
    known = bool(gpus) and all(capabilities)
    asked = _ask_gpus() if gpus else []
    return Hardware(
        num_gpus=len(gpus),
        gpu_name=details[0].get("device_name") if gpus else None,
        compute_capability=min(capabilities) if known else None,
        gpu_memory_gb=_gpu_memory_gb(asked),
        num_cores=available_cores(),
        cpu_has_bf16=_cpu_has_bf16(),
        memory_gb=_memory_gb(),
        num_cpu_devices=len(tf.config.list_logical_devices("CPU")),
        gpus=_which_gpus(asked) if gpus else None,
    )


def _ask_gpus():
    """(memory in MiB, name that no other has) of each GPU, as texts; [] where unknown.

    TensorFlow tells what it uses of the memory, not what there is.
    """
    query = ["nvidia-smi", "--query-gpu=memory.total,uuid"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line.split(", ") for line in answer.stdout.splitlines()]
    return [tuple(line) for line in lines if len(line) == 2]


def _gpu_memory_gb(asked):
    try:
        return min(float(memory) for memory, _ in asked) / 1024
    except ValueError:
        return None


def _which_gpus(asked):
    """Machine, GPUs that may be seen on it, and those of them that this process may."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    known = ",".join(name for _, name in asked) or "of unknown names"
    return f"{platform.node()}: {seen} of {known}"


def _memory_gb():
    """Main memory in GB, less where a control group allows less."""
    sizes = []
    for path in ("/sys/fs/cgroup/memory.max", "/proc/meminfo"):
        try:
            text = pathlib.Path(path).read_text()
        except OSError:
            continue
        number = text.split()[1 if path.endswith("meminfo") else 0]
        if number.isdigit():
            sizes.append(int(number) / (1e6 if path.endswith("meminfo") else 1e9))
    return min(sizes) if sizes else None


def available_cores():
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_has_bf16(path="/proc/cpuinfo"):
    try:
        flags = pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


# Objects made between two looks of Python's collector; Python's own is 700.
OBJECTS_BETWEEN_COLLECTIONS = 100_000


@contextlib.contextmanager
def starting_sooner():
    """Within it a training comes to its first step sooner, with the same results.

    Leaves out slow rewrites of TensorFlow's graphs, where there is no GPU: on a
    processor they cost more than a second of the 8 that the first step of a ViT-Ti
    takes, and make the steps no faster. They stay left out in this process. And lets
    Python look for garbage less often until the end: tracing makes many objects that
    stay, and looking at them again and again took a twelfth of all processor time up
    to the first steps.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        passes = ("layout_optimizer", "remapping", "shape_optimization")
        without = dict.fromkeys((*passes, "loop_optimization"), False)
        tf.config.optimizer.set_experimental_options(without)
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def make_strategy(name):
    """Strategy called `name` as `tf.distribute` knows it.

    Args:
        name: "none", "mirrored" or "tpu"; for "multi_worker" see
            `multi_worker.start`.

    Raises:
        UserError: When a TPU is asked for and none answers.
    """
    import tensorflow as tf

    if name == "tpu":
        return _tpu()
    return _mirrored() if name == "mirrored" else tf.distribute.get_strategy()


def tpu_is_named():
    """Whether the environment names a TPU, or this machine holds one."""
    import tensorflow as tf

    named = os.environ.get("TPU_NAME") or os.environ.get("COLAB_TPU_ADDR")
    return bool(named or tf.config.list_physical_devices("TPU"))


@functools.cache
def _tpu():
    import tensorflow as tf

    here = tf.config.list_physical_devices("TPU")
    name = os.environ.get("TPU_NAME") or ("local" if here else None)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise UserError(
            f"run.strategy: got tpu, but none answers ({first_line(error)}); allowed: "
            "TPU_NAME in the environment, or another strategy"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


@functools.cache
def _mirrored():
    # One for the whole process: a second one over the same devices numbers its
    # collective operations anew, and TensorFlow mixes them up with those of the first.
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def part_of_batches(order, batch_size, part, parts):
    """Dataset of the rows of one part in every batch of an ordered dataset.

    Args:
        order: Dataset of tuples of scalars.
        batch_size: Rows of a batch; those of an unfinished last batch are dropped.
        part: Which of the equal parts of a batch, from 0.
        parts: Number of parts; 1 gives `order` as it is.

    Raises:
        UserError: When a batch cannot be parted so.
    """
    import tensorflow as tf

    if batch_size % parts or not 0 <= part < parts:
        raise UserError(
            f"part {part} of {parts} of a batch of {batch_size}; allowed: a part from "
            "0 on, and a batch that the number of parts divides"
        )
    if parts == 1:
        return order
    share = batch_size // parts
    rows = slice(part * share, (part + 1) * share)
    # In whole batches: a filter would handle each row of the others by itself.
    batches = order.batch(batch_size, drop_remainder=True)
    mine = batches.map(lambda *columns: tuple(c[rows] for c in columns)).unbatch()
    if order.cardinality() == tf.data.INFINITE_CARDINALITY:
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return mine.apply(endless)
    return mine


def replicas_in_sync():
    """Replicas that the current strategy runs; 1 without one or off TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def mean_over_replicas(tensors):
    """List of tensors averaged over all replicas; None entries stay."""
    if replicas_in_sync() == 1:
        return list(tensors)
    import tensorflow as tf

    present = [t for t in tensors if t is not None]
    context = tf.distribute.get_replica_context()
    means = iter(context.all_reduce(tf.distribute.ReduceOp.MEAN, present))
    return [None if t is None else next(means) for t in tensors]


def gather_over_replicas(tensor):
    """The tensors (n, ...) of all replicas one after the other, (replicas * n, ...)."""
    if replicas_in_sync() == 1:
        return tensor
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_gather(tensor, axis=0)


def update_each_replica(update, variables, arguments):
    """Runs `update(variable, argument)` on every replica's own copy.

    Every replica holds the same values, so the copies stay equal and nothing is sent.

    Args:
        update: Function of a `tf.Variable` and a tensor or variable.
        variables: Keras variables to change.
        arguments: Keras variables or tensors, one for each of `variables`.
    """
    import tensorflow as tf

    pairs = [
        (_native(variable), _native(argument))
        for variable, argument in zip(variables, arguments, strict=True)
    ]
    if replicas_in_sync() == 1:
        for variable, argument in pairs:
            update(variable, argument)
        return

    def across(strategy, pairs):
        for variable, argument in pairs:
            strategy.extended.update(variable, update, args=(argument,), group=False)

    tf.distribute.get_replica_context().merge_call(across, args=(pairs,))


def _native(value):
    return value.value if isinstance(value, keras.Variable) else value
