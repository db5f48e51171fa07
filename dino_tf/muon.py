"""Muon: steps of matrices that are equally long in all directions."""

import keras
from keras import ops

from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import AdamW
from dino_tf.schedules import saved, value_at

FUSED = 3  # parts of the matrix of queries, keys and values
# Of a quintic that brings singular values from 0 to 1 near to 1, and how often.
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonalised(matrix):
    """The matrix with its singular values brought near to 1, in float32.

    Args:
        matrix: (M, N); zeros stay zeros.

    Returns:
        (M, N), singular values between about 0.7 and 1.2; less where they were below
        3e-3 of the root of the sum of their squares.

    Reference:
        Jordan et al. 2024, kellerjordan.github.io/posts/muon, for coefficients and
        count; the iteration is Newton's and Schulz's.
    """
    a, b, c = COEFFICIENTS
    matrix = ops.cast(matrix, "float32")
    tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if tall else matrix
    x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
    for _ in range(ITERATIONS):
        square = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.transpose(x) if tall else x


def matrix_parts(model, backbone):
    """Into how many matrices, side by side, Muon takes each variable of a model apart.

    Args:
        model: Layer that holds the backbone.
        backbone: `VisionTransformer`, built.

    Returns:
        List of integers in the order of `model.trainable_variables`: 1 for the
        matrices of the blocks, 3 for those of queries, keys and values in one, and 0
        for all else, which is AdamW's: patches, tokens, heads, biases, norms.

    Raises:
        ValueError: Another kind of backbone.
    """
    if not isinstance(backbone, VisionTransformer):
        kind = type(backbone).__name__
        raise ValueError(f"Muon with a {kind}: expected a VisionTransformer")
    parts = {}
    for block in backbone.blocks:
        fused = id(block.attn.qkv.kernel)
        for variable in block.trainable_variables:
            if len(variable.shape) == 2:
                parts[id(variable)] = FUSED if id(variable) == fused else 1
    return [parts.get(id(variable), 0) for variable in model.trainable_variables]


@keras.saving.register_keras_serializable(package="dino_tf")
class Muon(AdamW):
    """AdamW whose steps of some matrices are orthogonalised momentum.

    A matrix (M, N) goes by `matrix_rate` in each of its singular directions, and by
    the root of N / M more where N is the larger; that is a step of one length whatever
    the gradient, so that directions in which it is small are learnt as well. Their
    decay goes by their own rate, or they would grow with the number of steps.

    Queries and keys may go more slowly than all else: a step that is equally long in
    all their directions soon makes attention a matter of one patch.

    Args:
        learning_rate: Number or schedule.
        weight_decay: Number or schedule.
        parts: As `matrix_parts` gives them; None is AdamW for all.
        matrix_rate: Length of the steps of the matrices, a number above 0 or a
            schedule; None takes the learning rate.
        momentum: Share of the running sum of gradients kept, in [0, 1); Nesterov's.
        query_key: Factor of the steps of queries and keys, above 0; they decay like
            the others.
        **kwargs: As for `AdamW`.

    Raises:
        ValueError: A number is out of its range, or there is not one part for each
            variable, or a matrix cannot be taken apart so.

    Reference:
        Jordan et al. 2024, kellerjordan.github.io/posts/muon; for the decay and its
        use beside AdamW in Transformers Liu et al. 2025, arXiv 2502.16982.
    """

    schedules = (*AdamW.schedules, "matrix_rate")

    def __init__(
        self,
        learning_rate=5e-4,
        weight_decay=0.04,
        parts=None,
        matrix_rate=None,
        momentum=0.95,
        query_key=1.0,
        name="muon",
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, name=name, **kwargs)
        is_number = matrix_rate is not None and not callable(matrix_rate)
        lengths = [query_key, *([matrix_rate] if is_number else [])]
        if not all(n > 0 for n in lengths) or not 0 <= momentum < 1:
            raise ValueError(
                f"matrix_rate={matrix_rate}, momentum={momentum}, "
                f"query_key={query_key}: expected above 0, 0 to less than 1, above 0"
            )
        self.parts = None if parts is None else tuple(int(n) for n in parts)
        self.matrix_rate, self.momentum = matrix_rate, momentum
        self.query_key = query_key

    def build(self, variables):
        if self.parts is not None and not self.built:
            _check_parts(self.parts, variables)
        super().build(variables)

    def numbers_of(self, variables, active, rate, decay):
        """Those of AdamW, the length of a matrix's step, and what its decay leaves."""
        length = rate
        if self.matrix_rate is not None:
            length = value_at(self.matrix_rate, self.iterations)
            length = self._rates(ops.cast(length, "float32"), variables)
        numbers = super().numbers_of(variables, active, rate, decay)
        kept = 1.0 - length * decay * active
        return [*numbers, length * ops.ones_like(active), kept]

    def step_of(self, gradient, variable, *numbers):
        """Decay, then the orthogonalised step, or Adam's."""
        place = self._get_variable_index(variable)
        parts = self.parts[place] if self.parts else 0
        *of_adam, length, kept = numbers
        if not parts:
            return super().step_of(gradient, variable, *of_adam)
        average = self._momentums[place]
        self.assign(average, average * self.momentum + gradient)
        ahead = gradient + self.momentum * average
        factors = [1.0] * parts
        if parts == FUSED:
            factors[:2] = self.query_key, self.query_key
        pairs = zip(ops.split(ahead, parts, axis=1), factors, strict=True)
        found = [_step(part) * factor for part, factor in pairs]
        step = ops.concatenate(found, axis=1)
        variable.assign(variable * kept - length * step)
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "parts": None if self.parts is None else list(self.parts),
            "matrix_rate": saved(self.matrix_rate),
            "momentum": self.momentum,
            "query_key": self.query_key,
        }


def _step(matrix):
    rows, columns = matrix.shape
    return orthogonalised(matrix) * max(1.0, columns / rows) ** 0.5


def _check_parts(parts, variables):
    if len(parts) != len(variables):
        raise ValueError(
            f"{len(parts)} parts for {len(variables)} variables: expected as many"
        )
    for count, variable in zip(parts, variables, strict=True):
        shape = tuple(variable.shape)
        if count and (len(shape) != 2 or count < 0 or shape[1] % count):
            raise ValueError(
                f"parts={count} of {variable.path} {shape}: expected 0, or a divisor "
                "of the columns of a matrix"
            )
