"""Pieces of a network that work number by number or row by row, each one pass.

Written out in TensorFlow's operations each of them would go over its tensors a dozen
times; on a processor that is a quarter of a training step. So inside `one_pass()`
TensorFlow has XLA make one pass of each, and the matrix products, which its own
library does better, stay outside. Gradients are by hand and start from a piece's
inputs: what a piece gives is made again when it is needed, for the price of that pass,
and half of the memory of a step is not needed at all.
"""

import contextlib
import dataclasses
import functools
import math
import threading
from collections.abc import Callable

import keras
from keras import ops

# Numbers in a tensor; compiling takes a tenth of a second for each shape.
WORTH_COMPILING = 2**18
_SCOPE = threading.local()


@contextlib.contextmanager
def one_pass(recompute=False):
    """Within it, what TensorFlow traces has each piece compiled by XLA.

    Does nothing on other backends, which compile everything or nothing. A graph that
    is to leave the program (exports) is traced outside.

    Args:
        recompute: Whether layers that are `traced_once` keep for their gradient their
            inputs alone.
    """
    before = vars(_SCOPE).copy()
    _SCOPE.active = keras.backend.backend() == "tensorflow"
    _SCOPE.recompute = recompute
    try:
        yield
    finally:
        vars(_SCOPE).clear()
        vars(_SCOPE).update(before)


def is_training_graph():
    """Whether TensorFlow traces within `one_pass`."""
    return getattr(_SCOPE, "active", False)


def traced_once(layer, **options):
    """Function (like, *tensors) that does what `like(*tensors, **options)` does.

    `like` is `layer` or one made like it; no tensor is None. Within `one_pass` the
    layer is traced once and called for each of them with its weights, so that the time
    that a graph takes to start hardly grows with the depth of a network.
    """
    if not is_training_graph():
        return lambda like, *tensors: like(*tensors, **options)
    import tensorflow as tf

    # Inlined, they would be optimised one by one all the same.
    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def run(weights, tensors):
        mapping = list(zip(layer.variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return layer(*tensors, **options)

    run = _keeping_inputs(run) if _SCOPE.recompute else run

    def call(like, *tensors):
        return run([tf.convert_to_tensor(v.value) for v in like.variables], tensors)

    return call


def _keeping_inputs(run):
    """`run`, which for its gradient is run again.

    Reference:
        Chen et al. 2016, arXiv 1604.06174.
    """
    import tensorflow as tf

    def call(*structure):
        @tf.custom_gradient
        def kept(*flat):
            def gradient(upstream):
                # Not before its turn, or all of them would be in memory at once.
                with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
                    tape.watch(flat)
                    output = run(*tf.nest.pack_sequence_as(structure, flat))
                return tape.gradient(
                    output, flat, upstream, unconnected_gradients="zero"
                )

            return run(*tf.nest.pack_sequence_as(structure, flat)), gradient

        return kept(*tf.nest.flatten(structure))

    return call


def _compilable(function):
    """`function`, which XLA compiles inside `one_pass`."""

    @functools.cache
    def compiled():
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*arguments):
        worth = is_training_graph() and _is_large(arguments[0])
        return (compiled() if worth else function)(*arguments)

    return call


def _is_large(x):
    return None in x.shape or math.prod(x.shape) >= WORTH_COMPILING


@dataclasses.dataclass(frozen=True)
class Piece:
    """A function of tensors with its gradient.

    Attributes:
        forward: (*inputs) -> output.
        backward: (*inputs, gradient of the output) -> (*gradients of the inputs,
            output).
    """

    forward: Callable
    backward: Callable

    @classmethod
    def of(cls, forward, backward):
        """Piece of two plain functions."""
        return cls(_compilable(forward), _compilable(backward))

    def __call__(self, *inputs):
        """The output; only the inputs are kept for the gradient."""

        @ops.custom_gradient
        def run(*inputs):
            def gradient(upstream):
                return self.backward(*inputs, upstream)[:-1]

            return self.forward(*inputs), gradient

        return run(*inputs)

    def times(self, inputs, kernel, dtype, bias=None):
        """Output (n, a) of the piece, in `dtype`, times `kernel` (a, b) in the same.

        Only inputs and kernel are kept for the gradient, and the kernel in its own
        type: a copy of all weights in another one is not. A `bias` (b,) is added.
        """

        biases = () if bias is None else (bias,)

        @ops.custom_gradient
        def run(*arguments):
            count = len(inputs)
            given, (kernel, *added) = arguments[:count], arguments[count:]

            def gradient(upstream):
                turned = ops.transpose(ops.cast(kernel, dtype))
                inner = ops.matmul(upstream, turned)
                *gradients, output = self.backward(*given, inner)
                of_kernel = ops.matmul(ops.transpose(output), upstream)
                of_biases = [ops.cast(ops.sum(upstream, 0), b.dtype) for b in added]
                return (*gradients, ops.cast(of_kernel, kernel.dtype), *of_biases)

            product = ops.matmul(self.forward(*given), ops.cast(kernel, dtype))
            for bias in added:
                # The operator `+` is one that TensorFlow cannot join to a product.
                product = ops.add(product, ops.cast(bias, dtype))
            return product, gradient

        return run(*inputs, kernel, *biases)


# For products of what is there already.
AS_IT_IS = Piece(lambda x: x, lambda x, upstream: (upstream, x))


def _gelu_parts(wide, dtype):
    """GELU of float32 numbers, in `dtype`, and 1 + erf(wide / sqrt(2))."""
    double = 1.0 + ops.erf(wide * (1.0 / math.sqrt(2.0)))
    # In this order LiteRT's converter knows the function; it has no `erf` alone.
    return ops.cast(0.5 * wide * double, dtype), double


def _gelu_slope(wide, double, upstream):
    density = ops.exp(wide * wide * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return ops.cast(upstream, "float32") * (0.5 * double + wide * density)


def _gelu(x):
    return _gelu_parts(ops.cast(x, "float32"), x.dtype)[0]


def _gelu_backward(x, upstream):
    wide = ops.cast(x, "float32")
    output, double = _gelu_parts(wide, x.dtype)
    return ops.cast(_gelu_slope(wide, double, upstream), x.dtype), output


def _shifted(x, bias):
    return ops.cast(x, "float32") + ops.cast(bias, "float32")


def _biased_gelu(x, bias):
    return _gelu_parts(_shifted(x, bias), x.dtype)[0]


def _biased_gelu_backward(x, bias, upstream):
    wide = _shifted(x, bias)
    output, double = _gelu_parts(wide, x.dtype)
    slope = _gelu_slope(wide, double, upstream)
    rows = tuple(range(len(x.shape) - 1))
    of_bias = ops.cast(ops.sum(slope, axis=rows), bias.dtype)
    return ops.cast(slope, x.dtype), of_bias, output


# x (..., d) -> exact GELU of x, taken in float32, in the type of x.
GELU = Piece.of(_gelu, _gelu_backward)
# (x (n, d), bias (d,)) -> the same of x + bias, in the type of x.
BIASED_GELU = Piece.of(_biased_gelu, _biased_gelu_backward)


@functools.cache
def layer_norm(epsilon, dtype):
    """Piece (x (..., d), gamma (d,), beta (d,)) -> layer norm of x, in `dtype`.

    Computed in float32; `epsilon` is added to the variance.
    """

    def standardised(x):
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        scale = ops.rsqrt(variance + epsilon)
        return centred * scale, scale

    def forward(x, gamma, beta):
        return ops.cast(standardised(x)[0] * gamma + beta, dtype)

    def backward(x, gamma, beta, upstream):
        standard, scale = standardised(x)
        upstream = ops.cast(upstream, "float32")
        scaled = upstream * gamma
        shift = ops.mean(scaled, axis=-1, keepdims=True)
        along = ops.mean(scaled * standard, axis=-1, keepdims=True)
        rows = tuple(range(len(x.shape) - 1))
        return (
            (scaled - shift - standard * along) * scale,
            ops.sum(upstream * standard, axis=rows),
            ops.sum(upstream, axis=rows),
            ops.cast(standard * gamma + beta, dtype),
        )

    return Piece.of(forward, backward)


@_compilable
def _softmax_backward(weights, upstream, scale):
    """Gradient of what, times `scale`, `weights` are the softmax of."""
    wide, slope = ops.cast(weights, "float32"), ops.cast(upstream, "float32")
    along = ops.sum(wide * slope, axis=-1, keepdims=True)
    return ops.cast(wide * (slope - along) * scale, weights.dtype)


def _turned(x):
    return ops.transpose(x, (0, 1, 3, 2))


@functools.cache
def attention(heads):
    """Function of (queries (B, M, D), keys and values (B, N, 2 D)) -> (B, M, D).

    Or of queries, keys and values (B, N, 3 D) in one. The softmax is taken in float32;
    kept for the gradient are the inputs and, in their type, the attention.

    Args:
        heads: Attention heads, which divide D.
    """

    def split(x, count):
        """(B, N, count * D) -> `count` tensors (B, heads, N, D / heads)."""
        batch, tokens, width = ops.shape(x)
        x = ops.reshape(x, (batch, tokens, count, heads, width // (count * heads)))
        # One transposition, after which each lies in one place, ready to be taken.
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), count)

    def joined(parts):
        """The inverse of `split`."""
        batch, _, tokens, size = ops.shape(parts[0])
        x = ops.transpose(ops.stack(parts), (1, 3, 0, 2, 4))
        return ops.reshape(x, (batch, tokens, len(parts) * heads * size))

    def heads_of(inputs):
        if len(inputs) == 1:
            return split(inputs[0], 3)
        return [*split(inputs[0], 1), *split(inputs[1], 2)]

    @ops.custom_gradient
    def run(*inputs):
        queries, keys, values = heads_of(inputs)
        scale = queries.shape[-1] ** -0.5
        # Queries are fewer numbers than scores.
        scores = ops.matmul(queries * scale, _turned(keys))
        weights = ops.softmax(ops.cast(scores, "float32"), axis=-1)
        weights = ops.cast(weights, scores.dtype)

        def gradient(upstream):
            queries, keys, values = heads_of(inputs)
            (upstream,) = split(upstream, 1)
            of_values = ops.matmul(_turned(weights), upstream)
            of_weights = ops.matmul(upstream, _turned(values))
            of_products = _softmax_backward(weights, of_weights, scale)
            of_queries = ops.matmul(of_products, keys)
            of_keys = ops.matmul(_turned(of_products), queries)
            if len(inputs) == 1:
                return joined([of_queries, of_keys, of_values])
            return joined([of_queries]), joined([of_keys, of_values])

        return joined([ops.matmul(weights, values)]), gradient

    return run
