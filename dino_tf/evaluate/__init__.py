"""Numbers that say how good the features of a backbone are.

The metrics contract: an evaluation is a function that takes a backbone and one or
more sources, changes neither, knows nothing of training, and returns a dictionary
from names to plain floats:

    {"knn/top1_k20": 63.2, "knn/top5_k20": 91.0}

A name starts with the evaluation and a slash; shares are percentages from 0 to 100,
the higher the better. What cannot be evaluated (no labels, no boxes) raises
`dino_tf.errors.UserError`; no name is ever filled with a made-up number.
"""
