"""Our side of `start.py`: main.py as a user starts it, with moments noted.

    PYTHON start_ours.py MAIN.PY ARGUMENT ...

Nothing of the program is changed: functions are wrapped as their files are imported.
A moment whose function is no longer there is left out.
"""

import functools
import importlib.abc
import importlib.util
import pathlib
import runpy
import sys

import marks


class Watch(importlib.abc.MetaPathFinder):
    """Calls a function after a module was imported.

    Args:
        after: {module's name: function of the module}.
    """

    def __init__(self, after):
        self.after = after

    def find_spec(self, name, path, target=None):
        """The module's own spec, its loader followed by the function."""
        if name not in self.after:
            return None
        then = self.after.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            then(module)

        spec.loader.exec_module = exec_module
        return spec


def after(owner, name, moment):
    """Wraps a function of a module or class: its first end is a moment."""
    function = getattr(owner, name, None)
    if function is None:
        return

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        result = function(*args, **kwargs)
        marks.mark(moment)
        return result

    setattr(owner, name, wrapped)


def watch_fit(keras):
    """Notes the begin of `fit` and the end of each of its steps."""
    fit = keras.Model.fit

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.step_done(float((logs or {})["loss"]))

    @functools.wraps(fit)
    def wrapped(self, *args, callbacks=(), **kwargs):
        marks.mark("built")
        return fit(self, *args, callbacks=[*callbacks, Steps()], **kwargs)

    keras.Model.fit = wrapped


def watch_training(training):
    """Notes the end of all imports and of the search for data and settings."""
    marks.mark("imported")
    after(training, "prepare", "data and settings")


def main():
    """Runs the program."""
    sys.meta_path.insert(
        0,
        Watch(
            {
                "tensorflow": lambda _: marks.mark("TensorFlow imported"),
                "keras": watch_fit,
                "dino_tf.dino": lambda dino: after(dino.DINO, "train_step", "traced"),
                "dino_tf.training": watch_training,
            }
        ),
    )
    program = pathlib.Path(sys.argv[1]).resolve()
    sys.argv = [str(program), *sys.argv[2:]]
    # What Python itself puts there when it starts a program.
    sys.path[0] = str(program.parent)
    marks.mark("Python started")
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
