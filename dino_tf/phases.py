"""The crops of a run by its phase: those of its last epochs may be larger."""

import dataclasses


def crop_options(views):
    """Arguments of `MultiCrop` that a section `views` of a configuration holds."""
    options = dataclasses.asdict(views)
    del options["high_res_scale"]
    return options


def large_from(config):
    """Number of whole epochs after which the crops are larger; all: never."""
    return config.run.epochs - config.run.high_res_epochs


def large_views(config):
    """Section `views` of the last epochs, its sizes rounded to whole patches.

    Reference:
        Oquab et al. 2023, arXiv 2304.07193, "adapting the resolution".
    """
    views, patch = config.views, config.model.patch_size
    sizes = {
        name: max(round(getattr(views, name) * views.high_res_scale / patch), 1) * patch
        for name in ("global_size", "local_size")
    }
    return dataclasses.replace(views, **sizes)


def views_after(config, epochs):
    """Section `views` that holds after so many whole epochs."""
    return large_views(config) if epochs >= large_from(config) else config.views


def largest_views(config):
    """Section `views` of the phase that takes most memory."""
    return large_views(config) if config.run.high_res_epochs else config.views


def words(config):
    """What is to be said beside the number of epochs; "" without larger crops."""
    if not config.run.high_res_epochs:
        return ""
    views = large_views(config)
    return (
        f" (the last {config.run.high_res_epochs} with crops of {views.global_size} "
        f"and {views.local_size} pixels)"
    )
