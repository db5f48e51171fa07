"""Where a training runs: its strategy, and the devices that share a batch."""


def choose_strategy(config, facts):
    """`run.strategy` for a machine, and the reason.

    Args:
        config: `Config`, not looked at.
        facts: `recipe.Facts`.

    Returns:
        Tuple (name, one sentence).
    """
    if facts.num_workers > 1:
        return "multi_worker", facts.workers_reason
    if facts.num_tpu_cores:
        return "tpu", f"a TPU of {facts.num_tpu_cores} cores is found"
    if facts.num_gpus > 1:
        return "mirrored", f"{accelerators(facts)} share every batch"
    return (
        "none",
        f"one device: {facts.gpu_name or 'a GPU' if facts.num_gpus else 'CPU'}",
    )


def num_replicas(config, facts):
    """Devices that share a batch, for a resolved `run.strategy`."""
    if config.run.strategy == "none":
        return 1
    if config.run.strategy == "tpu":
        return max(facts.num_tpu_cores, 1)
    if config.run.strategy == "multi_worker":
        # TensorFlow takes a worker's CPU for one device.
        return facts.num_workers * max(facts.num_gpus, 1)
    return max(facts.num_gpus or facts.num_cpu_devices, 1)


def accelerators(facts):
    """ "1 GPU", "8 GPUs"."""
    return f"{facts.num_gpus} GPU{'s' if facts.num_gpus > 1 else ''}"


def sums_over_devices(config, facts):
    """What takes sums over all devices in the middle of a pass; "": nothing.

    It needs the whole batch at once, and keeps XLA from compiling the step.
    """
    if num_replicas(config, facts) == 1:
        return ""
    has_batch_norm = facts.network is not None and facts.network.batch_norm
    if has_batch_norm or config.head.use_bn:
        return "batch norm"
    return "sinkhorn" if config.loss.centering == "sinkhorn" else ""
