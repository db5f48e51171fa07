"""What memory a training takes, by estimate; a part of `dino_tf.recipe`."""

import math

from dino_tf import checks, phases


def gigabytes_per_photo(config, network=None):
    """Estimate of the memory that training takes for each photo of a batch.

    For every token, block and channel 5 numbers in float32 and 11 in the type of the
    precision: a tenth more than what 12 photos more took on a processor (2,109 MiB in
    float32, 1,356 MiB in bfloat16; ViT-S/16, 2 x 224 and 8 x 96 pixels, from 4 photos
    to 16 by `benchmarks/step.py`). Other networks: everything that their layers give,
    as if nothing were freed before the end.

    Args:
        config: `Config` with a precision.
        network: `Network`; None for a Vision Transformer of ours.
    """
    size = 4 if config.run.precision == "float32" else 2
    if network is not None:
        return size * network.numbers / 1e9
    width, depth, _ = checks.network(config)
    views, patch = phases.largest_views(config), config.model.patch_size
    tokens = 2 * ((views.global_size // patch) ** 2 + 1)
    tokens += views.num_local * ((views.local_size // patch) ** 2 + 1)
    each = 5 * 4 + 11 * size
    if config.run.recompute:
        # The residual stream in float32, and everything of one block at a time.
        each = 4 + each / depth
    more = _bytes_of_masks(config, size) + _bytes_of_histograms(config)
    return (each * tokens * depth * width + more) / 1e9


def _bytes_of_histograms(config):
    """Votes of all pixels of one photo's crops for 9 bins, in three float32 arrays."""
    if not config.loss.histogram_weight:
        return 0.0
    views = phases.largest_views(config)
    pixels = 2 * views.global_size**2 + views.num_local * views.local_size**2
    return 3 * 4 * 9 * pixels


def _bytes_of_masks(config, size):
    """What the hidden patches of one photo take in the head and the loss.

    Four arrays of K numbers in float32, and two in the type of the precision.
    """
    loss, head = config.loss, config.head
    if not loss.ibot_weight:
        return 0.0
    views, patch = phases.largest_views(config), config.model.patch_size
    rows = 2 * (views.global_size // patch) ** 2
    rows *= loss.ibot_mask_probability * sum(loss.ibot_mask_ratio) / 2
    hidden = 3 * size * head.hidden_dim * (head.num_layers - 1)
    out_dim = head.ibot_out_dim or head.out_dim or 2**16
    return rows * (hidden + out_dim * (4 * 4 + 2 * size))


def gigabytes_of_state(config, network):
    """Estimate of what weights, teacher, gradients and two moments take, in float32.

    Args:
        config: `Config`.
        network: `Network`; None for a Vision Transformer of ours.
    """
    if network is not None:
        return 0.0  # what their layers give is reckoned highly enough
    width, depth, _ = checks.network(config)
    head = config.head
    layers = width * head.hidden_dim + head.hidden_dim * head.bottleneck_dim
    layers += max(head.num_layers - 2, 0) * head.hidden_dim**2
    layers += head.bottleneck_dim * (head.out_dim or 2**16)
    if config.loss.ibot_weight and head.ibot_separate:
        layers *= 2
    return 20 * (12 * depth * width**2 + layers) / 1e9


def photos_that_fit(config, facts):
    """Photos of a batch that one device has memory for by estimate, 1 or more.

    Args:
        config: `Config` with a precision.
        facts: `recipe.Facts`; where the memory is unknown everything fits.
    """
    memory = facts.gpu_memory_gb if facts.num_gpus else facts.memory_gb
    if memory is None:
        return math.inf
    # The rest is for photos that wait, and for the error of the estimate.
    share = 0.8 if facts.num_gpus else 0.5
    left = share * memory - gigabytes_of_state(config, facts.network)
    return max(left / gigabytes_per_photo(config, facts.network), 1)


def parts_of(share, fits):
    """Number of equal parts of a batch of `share` photos, where `fits` fit at once."""
    return next(n for n in range(1, share + 1) if share % n == 0 and share / n <= fits)
