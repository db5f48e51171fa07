"""Layer-wise learning rates: the nearer to the pixels, the slower a layer learns."""

import keras

from dino_tf.errors import UserError
from dino_tf.optimizers import AdamW


@keras.saving.register_keras_serializable(package="dino_tf")
class LayerwiseAdamW(AdamW):
    """`AdamW` whose rate has a factor of its own for each variable.

    As in PyTorch's parameter groups the decay of a step goes with the rate, so it is
    smaller by the same factor.

    Args:
        learning_rate: Number or schedule.
        weight_decay: Number or schedule.
        shares: Factor of the rate for each variable, in the order of `build`.
        **kwargs: As for `AdamW`.

    Raises:
        ValueError: When there is not one factor for each variable.
    """

    def __init__(self, learning_rate, weight_decay, shares, **kwargs):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.shares = tuple(float(share) for share in shares)

    def build(self, variables):
        if len(variables) != len(self.shares):
            raise ValueError(
                f"{len(self.shares)} shares for {len(variables)} variables: expected "
                "as many"
            )
        super().build(variables)

    def numbers_of(self, variables, active, rate, decay):
        """As in `AdamW`, with each variable's own rate."""
        shares = [self.shares[self._get_variable_index(v)] for v in variables]
        rates = rate * keras.ops.convert_to_tensor(shares, "float32")
        return super().numbers_of(variables, active, rates, decay)

    def get_config(self):
        return {**super().get_config(), "shares": list(self.shares)}


def has_layers(backbone):
    """Whether the layers of a backbone have known depths; see `depths`."""
    return bool(getattr(backbone, "blocks", None))


def depths(backbone):
    """Depth of each trainable variable of a backbone, and that of a layer behind it.

    Patch embedding, tokens and positions, or the stem of a ResNet, have 0; the i-th
    block from the front has i + 1 (in an XCiT the blocks of class attention follow
    the others), the bottlenecks of a ResNet that of their stage. What comes behind
    the blocks, such as the final norm, has the depth of a classifier.

    Args:
        backbone: Has `blocks`.

    Returns:
        Tuple (list of integers in the order of `backbone.trainable_variables`, depth
        of the classifier).

    Reference:
        Bao et al. 2021, arXiv 2106.08254; microsoft/unilm, beit,
        `optim_factory.py`, `get_num_layer_for_vit`.
    """
    blocks = [*backbone.blocks, *getattr(backbone, "cls_attn_blocks", ())]
    places = list(range(1, len(blocks) + 1))
    if hasattr(backbone, "stages"):
        counts = enumerate(backbone.stages, 1)
        places = [stage for stage, count in counts for _ in range(count)]
    last, known = places[-1] + 1, {}
    for block, place in zip(blocks, places, strict=True):
        known |= {id(variable): place for variable in block.trainable_variables}
    if hasattr(backbone, "norm"):
        known |= {id(variable): last for variable in backbone.norm.trainable_variables}
    return [known.get(id(v), 0) for v in backbone.trainable_variables], last


def rate_shares(classifier, decay):
    """Share of the learning rate that each variable of a classifier has.

    It is `decay ** (L - depth)`, where the linear layer has depth L and share 1.

    Args:
        classifier: `dino_tf.models.classifier.Classifier`.
        decay: In (0, 1]; 1 gives all variables the same rate.

    Returns:
        List of floats in the order of `classifier.trainable_variables`.

    Raises:
        UserError: A decay below 1 for a network whose layers have no known depths.

    Reference:
        Clark et al. 2020, arXiv 2003.10555; facebookresearch/mae, `util/lr_decay.py`.
    """
    backbone = classifier.backbone
    if decay == 1.0:
        return [1.0] * len(classifier.trainable_variables)
    if not has_layers(backbone):
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(
            f"--layer-decay: got {decay}, allowed for {name}: 1, since the depths of "
            "its layers are not known"
        )
    found, last = depths(backbone)
    pairs = zip(backbone.trainable_variables, found, strict=True)
    depth_of = {id(variable): depth for variable, depth in pairs}
    return [
        decay ** (last - depth_of.get(id(v), last))
        for v in classifier.trainable_variables
    ]
