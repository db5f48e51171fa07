"""Networks of `keras.applications` and of keras-hub by name, as Keras makes them."""

import contextlib
import difflib
import inspect
import re

import keras
from keras import ops

from dino_tf.errors import UserError, first_line

# Their graphs hold for one image size only, the one that they were made for.
ONE_SIZE_ONLY = ("NASNetLarge", "NASNetMobile")
# Side of an image that is large enough for the deepest network and halves often.
PROBE = 512


def find_network(arch, image_size, weights=None, options=None, config=None):
    """Network without its classifier, which leaves pixels as they come.

    Args:
        arch: "keras:NAME" or "keras_hub:PRESET".
        image_size: (H, W) for networks made for one image size.
        weights: See `KerasBackbone`.
        options: Arguments of the application or of the keras-hub backbone.
        config: Configuration of a keras-hub network; None reads the preset.

    Returns:
        Functional Keras model of images (B, H, W, 3).

    Raises:
        UserError: For an unknown name, a missing keras-hub, or a network that gives
            no features of images.
    """
    options = options or {}
    kind, _, name = arch.partition(":")
    if kind == "keras":
        network = _application(name, weights, options)
    elif kind == "keras_hub":
        network = _hub_network(name, image_size, weights, options, config)
    else:
        raise UserError(f"got {arch!r}, allowed: keras:NAME or keras_hub:PRESET")
    return network


def _application(name, weights, options):
    known = [n for n in dir(keras.applications) if n[0].isupper()]
    known = [n for n in known if n not in ONE_SIZE_ONLY]
    if name in ONE_SIZE_ONLY:
        raise UserError(f"keras:{name} takes images of one size, DINO needs two")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.0)[0]
        raise UserError(
            f"unknown network keras:{name}; nearest is keras:{near}, known are the "
            f"{len(known)} of keras.applications that take images of any size"
        )
    make = getattr(keras.applications, name)
    options = {"include_preprocessing": False, **options}
    if "include_preprocessing" not in inspect.signature(make).parameters:
        del options["include_preprocessing"]
    try:
        network = make(
            include_top=False, weights=weights, input_shape=(None, None, 3), **options
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"keras:{name}: {first_line(error)}") from error
    _pass_pixels_on(network)
    return network


def _pass_pixels_on(network):
    """Makes the preprocessing a network begins with (EfficientNet) change nothing."""
    for layer in network.layers[1:]:
        if isinstance(layer, keras.layers.Rescaling):
            layer.scale, layer.offset = 1.0, 0.0
        elif isinstance(layer, keras.layers.Normalization):
            layer.adapt_mean.assign(ops.zeros_like(layer.adapt_mean))
            layer.adapt_variance.assign(ops.ones_like(layer.adapt_variance))
            layer.finalize_state()
        else:
            break


def _hub_network(preset, image_size, weights, options, config):
    try:
        import keras_hub
    except ImportError as error:
        raise UserError(
            f"keras_hub:{preset} needs keras-hub, which is not installed; "
            "pip install keras-hub"
        ) from error
    if config is not None:
        return keras.saving.deserialize_keras_object(config)
    if weights not in (None, "preset"):
        raise UserError(f"weights of keras_hub: got {weights!r}, allowed: None, preset")

    def load(**changes):
        return keras_hub.models.Backbone.from_preset(
            preset, load_weights=weights == "preset", **options, **changes
        )

    try:
        network = load()
    # Every kind of hub, and of missing network, has errors of its own.
    except Exception as error:
        reason = re.sub(r"\s+", " ", first_line(error))
        raise UserError(
            f"keras_hub:{preset} cannot be read ({reason}); allowed: a preset of "
            "keras-hub, or the folder of one"
        ) from error
    return _of_any_size(network, load, image_size, preset)


def _of_any_size(network, load, image_size, preset):
    """The same network for images of any size, else for those of `image_size`."""
    if "image_shape" in network.get_config():
        for size in ((None, None), image_size):
            with contextlib.suppress(ValueError, TypeError):
                other = load(image_shape=(*size, 3))
                if _gives_patches(other):
                    return other
    if not _gives_patches(network):
        raise UserError(
            f"keras_hub:{preset} is a {type(network).__name__}, which gives no map of "
            "an image; allowed: image backbones"
        )
    return network


def _gives_patches(network):
    shape, outputs = _image_shape(network), network.output
    if len(shape) != 4 or shape[-1] != 3:
        return False
    if isinstance(outputs, dict):
        return all(len(output.shape) == 4 for output in outputs.values())
    if isinstance(outputs, list | tuple) or len(outputs.shape) not in (3, 4):
        return False
    # The patches of a sequence are known by their number only.
    return len(outputs.shape) == 4 or None not in outputs.shape[1:]


def _image_shape(network):
    images = network.input
    images = next(iter(images.values())) if isinstance(images, dict) else images
    return images.shape if hasattr(images, "shape") else ()


def input_size(network):
    """(H, W) of the images that a network was made for, None for any."""
    size = _image_shape(network)[1:3]
    return None if None in size else tuple(size)


def stage_outputs(network, size):
    """Symbolic feature maps (B, h, w, D), the last of each resolution, finest first.

    Args:
        network: Functional network.
        size: (H, W) of the images to tell resolutions by.

    Returns:
        List; empty for networks without feature maps that halve.
    """
    last = last_output(network)
    final = network.output if last is None else network.output[last]
    if len(final.shape) != 4:
        return []
    maps = []
    for layer in network.layers[1:]:
        # Layers used more than once have no single output.
        with contextlib.suppress(AttributeError, ValueError):
            if len(layer.output.shape) == 4:
                maps.append(layer.output)
    maps.append(final)
    specs = maps
    if None in final.shape[1:]:
        probe = keras.Function(network.inputs, maps)
        specs = probe.compute_output_spec([keras.KerasTensor((1, *size, 3))])
    smallest, stages = specs[-1].shape[1:3], {}
    for tensor, spec in zip(maps, specs, strict=True):
        rows, columns = spec.shape[1:3]
        # Padded maps lie between two resolutions, gates of channels below the last.
        if size[0] % rows == size[1] % columns == 0 and rows >= smallest[0]:
            stages[rows, columns] = tensor
    if smallest not in stages:
        return []
    return [stages[key] for key in sorted(stages, reverse=True) if key != tuple(size)]


def last_output(network):
    """Key of the coarsest map of a network with several outputs, else None."""
    if not isinstance(network.output, dict):
        return None
    specs = network.output
    if input_size(network) is None:
        specs = network.compute_output_spec(keras.KerasTensor((1, PROBE, PROBE, 3)))
    return min(specs, key=lambda key: specs[key].shape[1])
