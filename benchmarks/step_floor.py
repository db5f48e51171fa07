"""How fast a training step could be at best on this machine, beside how fast it is.

    python benchmarks/step_floor.py --arch vit_small --batch 8 --out-dim 4096
    python benchmarks/step_floor.py --turns 5 --out FILE.json

A bound for `step.py`. A step is matrix products, and passes over memory between them:
norms, softmax, activations, moving heads, updating weights. Two things are measured in
turns with the real step: the products of one block alone, in their own shapes, by
TensorFlow's own library; and how fast memory is read and written. From them follows the
time of a step that does nothing between its products but read and write each number as
often as any fusion needs, and takes no time to compute exponentials and roots. No such
program exists; a goal beyond it is out of reach on the machine.
"""

import argparse
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import answers  # noqa: E402  (found by the line above)
import turns  # noqa: E402

FLOAT_BYTES = 4
# Numbers read and written between the products of a block, in units of tokens x width:
# norm 2 and its residual 2, three heads split 6, joined 2, residual and norm 4, GELU 8;
# and for the gradient GELU 12, two norms with their sums 8, heads joined 2, split 6.
FORWARD, BACKWARD = 24, 28
# The same in units of heads x tokens^2: softmax; its gradient reads two, writes one.
FORWARD_ROWS, BACKWARD_ROWS = 2, 3
# Weight, gradient, two moments read, three written; the teacher read and written.
UPDATE = 9
COPIED_MB = 256


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_network(parser, ("float32",))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="the figures as JSON")
    return parser.parse_args(words)


def groups(work):
    """Views of one size: (images in a batch, tokens of each, seen by the teacher)."""
    sizes = (
        (2, work["global_size"], True),
        (work["num_local"], work["local_size"], False),
    )
    return [
        (count * work["batch"], (side // work["patch_size"]) ** 2 + 1, teacher)
        for count, side, teacher in sizes
        if count
    ]


def block_products(images, tokens, width, heads):
    """Products of one block forward: (left, right) shapes, and which are weights."""
    rows, depth = images * tokens, width // heads
    dense = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    shapes = [((rows, a), (a, b)) for a, b in dense]
    scores = ((images * heads, tokens, depth), (images * heads, depth, tokens))
    sums = ((images * heads, tokens, tokens), (images * heads, tokens, depth))
    return [*shapes, scores, sums]


def count(shapes):
    """Floating-point operations of one of `block_products`."""
    left, right = shapes
    lead = left[0] if len(left) == 3 else 1
    return 2 * lead * left[-2] * left[-1] * right[-1]


def products_of(work, width, heads):
    """Function that computes a block's products, student's and teacher's, and count."""
    import tensorflow as tf

    kinds, total = [], 0
    for images, tokens, teacher in groups(work):
        for shapes in block_products(images, tokens, width, heads):
            right = tf.random.normal(shapes[1], stddev=0.05)
            # The teacher's own, or the graph would compute one product for both.
            lefts = [tf.random.normal(shapes[0]) for _ in range(1 + teacher)]
            gradient = tf.random.normal((*shapes[0][:-1], shapes[1][-1]))
            kinds.append((lefts, right, gradient))
            total += count(shapes) * (4 if teacher else 3)

    @tf.function(autograph=False)
    def compute():
        done = []
        for lefts, right, gradient in kinds:
            done += [tf.matmul(left, right) for left in lefts]
            done.append(tf.matmul(gradient, right, transpose_b=True))
            done.append(tf.matmul(lefts[0], gradient, transpose_a=True))
        # One number of each, or what nobody reads would not be computed.
        return tf.add_n([tf.reshape(product, (-1,))[0] for product in done])

    return lambda: float(compute()), total


def memory_rate():
    """Bytes read and written a second by a sum of large arrays, all cores."""
    import tensorflow as tf

    size = COPIED_MB * 2**20 // FLOAT_BYTES
    one, two = tf.ones(size), tf.ones(size)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        float((one + two)[0])
        times.append(time.perf_counter() - start)
    return 3 * size * FLOAT_BYTES / min(times)


def bytes_moved(work, width, depth, heads, numbers):
    """Least bytes between the products of a step; `numbers` are trained weights."""
    moved = UPDATE * numbers
    for images, tokens, teacher in groups(work):
        passes = [(FORWARD + BACKWARD, FORWARD_ROWS + BACKWARD_ROWS)]
        passes += [(FORWARD, FORWARD_ROWS)] if teacher else []
        for plain, rows in passes:
            moved += depth * images * tokens * (plain * width + rows * heads * tokens)
    return FLOAT_BYTES * moved


def measure(given):
    """The step, its products and memory in turns; a dictionary of all figures."""
    import step
    import step_ours

    from dino_tf.checks import ARCHITECTURES

    work = turns.chosen(given, turns.NETWORK)
    work |= {"drop_path": 0.0, "xla": False, "recompute": False, "strategy": "none"}
    width, depth, heads = ARCHITECTURES[work["arch"]]
    depth = work["sizes"].get("depth", depth)
    model, batch = step_ours.build(work), step_ours.views(work)
    products, counted = products_of(work, width, heads)
    ceiling = step_ours.measures()["ceiling"]
    runs = {"step": step_ours.step_of(model, batch), "products": products}
    found = _in_turns(runs, ceiling, given.turns)
    numbers = sum(v.shape.num_elements() for v in model.trainable_variables)
    moved = bytes_moved(work, width, depth - 1, heads, numbers)
    return summary(work, found, step.operations(work)[0], counted, moved)


def _in_turns(runs, ceiling, count):
    found = {name: [] for name in (*runs, "ceiling", "memory")}
    for _ in range(3):
        [run() for run in runs.values()]
    for _ in range(count):
        found["ceiling"].append(ceiling())
        found["memory"].append(memory_rate())
        for name, run in runs.items():
            found[name] += answers.run_times(run, 3)["seconds"]
    return {name: statistics.median(values) for name, values in found.items()}


def summary(work, found, step_operations, block_operations, moved):
    """All figures of what was measured, as shares of the large product's rate."""
    products_rate = block_operations / found["products"]
    products, passes = step_operations / products_rate, moved / found["memory"]
    least = step_operations / found["ceiling"]
    return {
        "work": work,
        "machine": turns.machine(),
        "matrix_rate": found["ceiling"],
        "products_rate": products_rate,
        "memory_rate": found["memory"],
        "bytes_between": moved,
        "seconds": {
            "step": found["step"],
            "products": products,
            "passes": passes,
            "floor": products + passes,
        },
        "share_of_matrix_rate": {
            "step": least / found["step"],
            "products": least / products,
            "floor": least / (products + passes),
        },
    }


def tell(result):
    """Prints the figures."""
    seconds, shares = result["seconds"], result["share_of_matrix_rate"]
    names = {
        "step": "step as it is",
        "floor": "least: products and passes over memory",
        "products": "its products alone",
        "passes": "its passes over memory alone",
    }
    rows = [("", "seconds", "share of the matrix rate")]
    for name, words in names.items():
        share = f"{shares[name]:.1%}" if name in shares else ""
        rows.append((words, f"{seconds[name]:.3f}", share))
    print(turns.table(rows))
    print(
        f"memory {result['memory_rate'] / 1e9:.1f} GB/s, "
        f"{result['bytes_between'] / 1e9:.2f} GB between the products of a step"
    )


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
