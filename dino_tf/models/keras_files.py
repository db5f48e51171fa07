"""`.keras` archives and HDF5 weights, looked through before Keras opens them.

Keras makes whatever its registry and its own modules offer, follows links of HDF5 into
other files, and takes the memory that a file claims to need, each version in other
ways. A file of ours is a network of ours with its weights; nothing else is let through.
"""

import json
import math
import zipfile
from concurrent.futures import ThreadPoolExecutor

import keras

from dino_tf.errors import UserError, first_line

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
# Bytes of JSON; bytes of memory for each one stored, as deflated zeros have; objects
# in a file; links between them.
MOST_TEXT, MOST_GROWTH, SLACK, MOST_OBJECTS = 2**24, 100, 2**20, 100_000
# What a configuration may name beside networks: how numbers are kept. Not a map of
# policies: Keras takes its keys for regular expressions, which may run for ever.
PLAIN = {("keras", "DTypePolicy")}
# Settings that tell how often something is repeated.
REPEATED = ("depth", "depths", "stages", "nlayers", "num_layers", "num_blocks")


class _Refused(ValueError):
    """Why a file is not opened."""


def check_keras_file(path):
    """Looks through a `.keras` file without making anything of it but shapes.

    Args:
        path: The file.

    Raises:
        UserError: It is no archive of Keras; it holds other members, another class
            than networks of ours and registered ones, links, or less than it claims.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist())
            config = json.loads(archive.read(CONFIG))
            with archive.open(WEIGHTS) as file:
                count, datasets = _check_weights(file)
        _check_network(config, datasets)
        _check_objects(config)
        if _count_weights(config) > count + SLACK:
            raise _Refused("its network has more weights than the file")
    # Zip, JSON, HDF5 and Keras raise many unrelated types.
    except Exception as error:
        if isinstance(error.__context__, UserError):
            raise error.__context__ from error
        raise UserError(
            f"{path} cannot be read as a Keras model: {first_line(error)}"
        ) from error


def count_weights(make):
    """Numbers in the weights of a network, none of which takes memory.

    Args:
        make: Function that makes the network, which need not be built.
    """
    # Keras notes variables that wait for their values thread by thread, and would
    # make them at the end of the next scope of this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_count_in_scope, make).result()


def _count_in_scope(make):
    with keras.StatelessScope(initialize_variables=False):
        network = make()
        if not network.built:
            network.build()
        return sum(math.prod(weight.shape) for weight in network.weights)


def _check_members(members):
    names = [member.filename for member in members]
    if sorted(names) != sorted(MEMBERS):
        odd = sorted(set(names) ^ MEMBERS) or names
        raise _Refused(
            f"allowed are {', '.join(sorted(MEMBERS))}; wrong is {odd[0][:80]!r}"
        )
    for member in members:
        if member.file_size > MOST_GROWTH * member.compress_size + SLACK:
            raise _Refused(f"{member.filename} is larger than it may be")
        if member.filename != WEIGHTS and member.file_size > MOST_TEXT:
            raise _Refused(f"{member.filename} is no configuration of ours")


def _check_weights(file):
    """(count of the numbers, count of the arrays) of an HDF5 file."""
    import h5py

    count, datasets, seen, todo = 0, 0, set(), []
    with h5py.File(file, "r") as opened:
        todo.append(opened)
        while todo:
            group = todo.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _Refused(f"{name[:80]!r} is a link")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen or len(seen) > MOST_OBJECTS:
                    raise _Refused("its groups are nested in each other")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    todo.append(item)
                    continue
                count, datasets = count + _check_array(name, item), datasets + 1
    return count, datasets


def _check_array(name, item):
    """Count of the numbers of an array that lies in the file, all of it."""
    if (
        not hasattr(item, "shape")
        or item.shape is None
        or item.dtype.kind not in "fiubV"
    ):
        raise _Refused(f"{name[:80]!r} holds no numbers")
    if item.external or item.is_virtual:
        raise _Refused(f"{name[:80]!r} lies in another file")
    if item.nbytes > MOST_GROWTH * item.id.get_storage_size() + SLACK:
        raise _Refused(f"{name[:80]!r} claims {item.nbytes} bytes, more than there are")
    return math.prod(item.shape)


def _check_network(config, datasets):
    """Refuses what would be fetched from elsewhere, or repeated too often."""
    if not isinstance(config, dict):
        raise _Refused("its configuration is no dictionary")
    # Nothing of it is used: networks are opened without their training.
    config.pop("compile_config", None)
    for value in _dictionaries(config):
        arch = value.get("arch")
        is_hub = isinstance(arch, str) and arch.startswith("keras_hub:")
        if is_hub and not isinstance(value.get("network_config"), dict):
            raise _Refused(f"it does not hold the network {arch[:80]!r} itself")
        if value.get("weights") is not None and arch is not None:
            raise _Refused("it asks for weights of another file")
        for key in REPEATED:
            numbers = value.get(key)
            numbers = numbers if isinstance(numbers, list) else [numbers]
            whole = [n for n in numbers if isinstance(n, int | float)]
            if any(number > max(datasets, 1) for number in whole):
                raise _Refused(f"{key} is {max(whole)}, with {datasets} arrays")


def _check_objects(config):
    """Refuses every class and function but networks of ours."""
    for value in _dictionaries(config):
        if "class_name" not in value and "registered_name" not in value:
            continue
        module, name = value.get("module"), value.get("class_name")
        registered = value.get("registered_name")
        if not all(isinstance(text, str | None) for text in (module, name, registered)):
            raise _Refused("its configuration names no class")
        is_ours = (module, name) in PLAIN and registered is None
        is_hub = str(module).startswith("keras_hub.") and name.endswith("Backbone")
        if registered:
            known = keras.saving.get_registered_object(registered)
            is_ours = known is not None and _is_of_a_network(known)
        if not (is_ours or is_hub):
            raise _Refused(
                f"it asks for {str(registered or f'{module}.{name}')[:80]!r}; allowed "
                "are the networks of dino_tf and what this program has registered"
            )


def _is_of_a_network(known):
    """Whether a registered object is no function and nothing of Keras's own."""
    return isinstance(known, type) and not known.__module__.startswith("keras.")


def _dictionaries(config):
    """Every dictionary in a configuration, without recursion."""
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _count_weights(config):
    """Numbers in the weights of a network, which are never made."""
    return count_weights(
        lambda: keras.saving.deserialize_keras_object(config, safe_mode=True)
    )
