"""`MultiWorkerMirroredStrategy`: its start, and what Keras' `fit` lacks for it."""

import signal

from dino_tf.errors import UserError, first_line

# Seconds that TensorFlow's servers may take to find each other, once all workers are
# there, and after which TensorFlow takes a silent worker for lost: it is to notice
# later than `workers` does, which says more.
START, SILENCE = 50, 60


def start(cluster):
    """The strategy over all workers of a cluster; before other TensorFlow work.

    Gradients are summed by NCCL where there are GPUs, else by rings over the network.

    Args:
        cluster: `Cluster`.

    Raises:
        UserError: When TensorFlow has begun already, or its server does not start.
    """
    import tensorflow as tf

    job, number = cluster.task
    gpus = len(tf.config.list_physical_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs()),
        task_type=job,
        task_id=number,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kinds.NCCL if gpus else kinds.RING
    )
    try:
        _set_patience(cluster)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except RuntimeError as error:
        raise UserError(
            "run.strategy: got multi_worker after other TensorFlow work "
            f"({first_line(error)}); allowed: at the start of a fresh process"
        ) from error
    except tf.errors.OpError as error:
        raise UserError(
            f"TensorFlow's server of {cluster.name(cluster.index)} did not start "
            f"({first_line(error)})"
        ) from error
    # TensorFlow takes SIGTERM for a notice, and the process would outlive it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return strategy


def _set_patience(cluster):
    from tensorflow.python.eager import context

    jobs, messages = cluster.jobs(), context.coordination_config_pb2
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{cluster.tasks[0][0]}/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * SILENCE,
        coordinated_jobs=[
            messages.CoordinatedJob(name=job, num_tasks=len(jobs[job])) for job in jobs
        ],
    )


def spans_workers(strategy):
    """Whether a strategy runs on several workers."""
    import tensorflow as tf

    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and strategy.extended._in_multi_worker_mode()


class FitOnWorkers:
    """Mixin for a `keras.Model` that makes `fit` and `evaluate` work on workers.

    Keras 3 stumbles twice under a strategy of several workers. To build the model it
    averages a batch over replicas outside any function, where the workers' values do
    not fit together; here everything is built already. And it averages the scalars
    that a step returns over their first axis, which a scalar does not have.
    `tests/test_multi_worker.py` fails when either is no longer so.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not spans_workers(self.distribute_strategy):
            super()._maybe_symbolic_build(iterator, data_batch)

    def get_metrics_result(self):
        """As in Keras, but with a first axis within a step on several workers."""
        import tensorflow as tf

        found = super().get_metrics_result()
        within = not tf.distribute.in_cross_replica_context()
        if not within or not spans_workers(tf.distribute.get_strategy()):
            return found
        return {name: tf.reshape(value, (1,)) for name, value in found.items()}


def copy_from_chief(variables):
    """Gives Keras variables on all replicas the values of the first one.

    All workers must call it within the strategy's scope. What is sent is a sum to
    which the others contribute zeros, which both rings and NCCL can do.
    """
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    @tf.function(autograph=False)
    def values():
        def of_replica():
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            own = [_for_sums(tf.convert_to_tensor(v.value)) for v in variables]
            own = [tf.where(first, value, tf.zeros_like(value)) for value in own]
            # One by one: in one list all would have to be of one type.
            return [context.all_reduce(tf.distribute.ReduceOp.SUM, x) for x in own]

        return strategy.run(of_replica)

    for variable, value in zip(variables, values(), strict=True):
        local = strategy.experimental_local_results(value)[0]
        variable.assign(tf.cast(local, variable.dtype))


def _for_sums(value):
    import tensorflow as tf

    # Sums are made of few types only; these hold all values of the others.
    whole = value.dtype.is_integer or value.dtype.is_bool
    return tf.cast(value, tf.int64) if whole else value


def share_batches(make):
    """Distributed dataset of which each worker makes its own part only.

    Call it within the scope of the strategy that `fit` runs under.

    Args:
        make: Function of (number of this worker, workers) that returns a
            `tf.data.Dataset` of this worker's part of each batch, as
            `make_dataset(..., part=...)` does.

    Returns:
        What `fit` takes in place of a dataset. Replica by replica, it holds the rows
        of the batches of one process.
    """
    import tensorflow as tf

    def of_worker(context):
        parts = context.num_input_pipelines
        dataset = make((context.input_pipeline_id, parts))
        share = tf.nest.flatten(dataset.element_spec)[0].shape[0]
        replicas = context.num_replicas_in_sync // parts
        if replicas == 1:
            return dataset
        return dataset.rebatch(share // replicas, drop_remainder=True)

    strategy = tf.distribute.get_strategy()
    return strategy.distribute_datasets_from_function(of_worker)
