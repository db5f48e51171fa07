"""The start of a training that must come before other TensorFlow work."""

import contextlib
from dataclasses import dataclass

from dino_tf.cluster import find_cluster
from dino_tf.distribute import make_strategy, tpu_is_named
from dino_tf.multi_worker import START, start
from dino_tf.rendezvous import join
from dino_tf.workers import Alone, Workers


@dataclass
class Launch:
    """Where a training runs, as far as that is settled before its configuration.

    Attributes:
        workers: `Workers`, or `Alone`.
        strategy: Strategy over workers or a TPU; None leaves it to the configuration.
        num_tpu_cores: Cores of the TPU, 0 without one.
    """

    workers: Workers | Alone
    strategy: object = None
    num_tpu_cores: int = 0


@contextlib.contextmanager
def launched(config, say):
    """Finds the other workers or the TPU, and parts from them in the end.

    Args:
        config: `Config` as asked for.
        say: Function that shows text to the person.

    Yields:
        `Launch`.

    Raises:
        UserError: When workers or a TPU are asked for and not found.
    """
    cluster = find_cluster(config.run.strategy)
    if cluster is None:
        yield _alone(config.run.strategy)
        return
    workers = join(cluster, config.run.wait, say)
    try:
        with workers.guarded(START):
            strategy = start(cluster)
        yield Launch(workers, strategy)
    except BaseException as error:
        workers.explain(error)
        raise
    workers.close()


def _alone(name):
    if name != "tpu" and not (name == "auto" and tpu_is_named()):
        return Launch(Alone())
    strategy = make_strategy("tpu")
    return Launch(Alone(), strategy, strategy.num_replicas_in_sync)
