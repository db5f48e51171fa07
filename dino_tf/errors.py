"""The one error that means: the user's arguments or data are wrong."""


class UserError(ValueError):
    """A mistake in arguments or data, told in one line; the program exits with 2.

    The message says what was received and what is allowed.
    """


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the program exits with 3."""
