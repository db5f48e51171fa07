"""AdamW, SGD and LARS with the published rules and scheduled weight decay.

Learning rate and weight decay may each be a number or a schedule of the step; both
read `optimizer.iterations`. Biases and other one-dimensional variables are never
decayed. Gradients are averaged over replicas by `DINO.train_step`, before clipping.

A gradient that is zero in every place belongs to a frozen variable, which is not
decayed either: frozen from the start, it stays as it is, as PyTorch leaves a
parameter without gradient.

Each variable can have a share of the rate of its own. As in PyTorch's parameter
groups the decay of a step goes with the rate, so it is smaller by the same factor.
"""

import keras
import tensorflow as tf
from keras import ops

from dino_tf.distribute import update_each_replica
from dino_tf.schedules import restored, saved, value_at


def unscaled(optimizer):
    """The optimizer that steps, without what scales the loss of half precision."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class _ScheduledDecay:
    """Mixin: `weight_decay` as a schedule; gradients come in already reduced.

    An optimizer gives `step_of(gradient, variable, *numbers)`: one step of one
    variable by its row of `numbers_of`.
    """

    reduces_gradients = False
    schedules = ("learning_rate", "weight_decay")  # in a configuration

    def __init__(self, learning_rate, weight_decay=0.0, shares=None, **kwargs):
        super().__init__(learning_rate=learning_rate, weight_decay=0.0, **kwargs)
        self.weight_decay = weight_decay
        self.shares = None if shares is None else tuple(float(s) for s in shares)

    def build(self, variables):
        if self.shares is not None and len(variables) != len(self.shares):
            raise ValueError(
                f"{len(self.shares)} shares for {len(variables)} variables: expected "
                "as many"
            )
        super().build(variables)

    @property
    def weight_decay(self):
        """Weight decay at the current step."""
        return value_at(self.decay_schedule, self.iterations)

    @weight_decay.setter
    def weight_decay(self, value):
        self.decay_schedule = value

    def _apply_weight_decay(self, variables):
        """Nothing: `step_of` decays, as `numbers_of` can see a frozen gradient."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Numbers of all variables at once: operations on a scalar for each of them
        # are most of a graph, and of the time that it takes to start.
        rate = self._rates(ops.cast(learning_rate, "float32"), trainable_variables)
        decay = ops.cast(self.weight_decay, "float32")
        moved = [ops.any(ops.not_equal(g, 0)) for g in grads]
        active = ops.cast(ops.stack(moved), "float32")
        numbers = self.numbers_of(trainable_variables, active, rate, decay)
        rows = zip(*(ops.unstack(column) for column in numbers), strict=True)
        update_each_replica(
            lambda v, row: self.step_of(row[0], v, *row[1:]),
            trainable_variables,
            [(g, *row) for g, row in zip(grads, rows, strict=True)],
        )

    def _rates(self, rate, variables):
        """Rate of the step, or (n,) those of the variables."""
        if self.shares is None:
            return rate
        shares = [self.shares[self._get_variable_index(v)] for v in variables]
        return rate * ops.convert_to_tensor(shares, "float32")

    def numbers_of(self, variables, active, rate, decay):
        """Columns of numbers for `step_of`: here learning rate and decay.

        Args:
            variables: The n variables.
            active: (n,) 1 for a gradient that moves its variable, else 0.
            rate: Learning rate of the step, or (n,) one for each variable.
            decay: Weight decay of the step.
        """
        return [rate * ops.ones_like(active), decay * active]

    def get_config(self):
        config = super().get_config()
        decay = saved(self.decay_schedule)
        shares = None if self.shares is None else list(self.shares)
        return {**config, "weight_decay": decay, "shares": shares}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**restored(config, cls.schedules, custom_objects))


def _is_decayed(variable):
    return len(variable.shape) > 1


@keras.saving.register_keras_serializable(package="dino_tf")
class AdamW(_ScheduledDecay, keras.optimizers.AdamW):
    """AdamW with decoupled, scheduled decay: `p *= 1 - lr * wd` before the step.

    Args:
        learning_rate: Number or schedule.
        weight_decay: Number or schedule.
        epsilon: Added to the root of the second moment, after its bias correction.
        **kwargs: As for `keras.optimizers.AdamW`, but for `amsgrad`; and `shares`, the
            factor of the rate for each variable, in the order of `build`.

    Raises:
        ValueError: When `amsgrad` is asked for, or there is not one share for each
            variable.

    Reference:
        Loshchilov and Hutter 2019, arXiv 1711.05101; `torch.optim.AdamW`.
    """

    def __init__(self, learning_rate=5e-4, weight_decay=0.04, epsilon=1e-8, **kwargs):
        if kwargs.get("amsgrad"):
            raise ValueError("amsgrad=True: expected False")
        super().__init__(learning_rate, weight_decay, epsilon=epsilon, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        # PyTorch counts for each parameter the steps in which it had a gradient, so
        # a layer that is frozen at first starts its bias correction afresh.
        self._steps = self.add_variable(
            (len(variables),), dtype="float32", name="steps"
        )

    def numbers_of(self, variables, active, rate, decay):
        """Rate, share kept by the decay, both powers of beta, and epsilon."""
        places = [self._get_variable_index(variable) for variable in variables]
        steps = ops.take(ops.convert_to_tensor(self._steps), places) + active
        update_each_replica(
            lambda v, new: v.assign(tf.tensor_scatter_nd_update(v, *new)),
            [self._steps],
            [([[place] for place in places], steps)],
        )
        steps = ops.maximum(steps, 1.0)
        powers = ops.power(self.beta_1, steps), ops.power(self.beta_2, steps)
        # Keras adds epsilon before the second moment's correction: at first 30 times
        # as much, which holds variables of small gradients back.
        epsilon = self.epsilon * ops.sqrt(1.0 - powers[1])
        rates = rate * ops.ones_like(active)
        return [rates, 1.0 - rate * decay * active, *powers, epsilon]

    def step_of(self, gradient, variable, rate, kept, power_1, power_2, epsilon):
        """Decay, then Adam with a count of steps of the variable's own."""
        place = self._get_variable_index(variable)
        if _is_decayed(variable):
            variable.assign(variable * kept)
        # One pass over memory.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=epsilon,
            grad=gradient,
        )


class _Momentum(_ScheduledDecay, keras.optimizers.Optimizer):
    """Velocity `u = momentum * u + g`, step `p -= lr * u` (PyTorch's order)."""

    def __init__(self, learning_rate, weight_decay, momentum, name, **kwargs):
        super().__init__(learning_rate, weight_decay, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def step_of(self, gradient, variable, rate, decay):
        """The velocity, then the step along it."""
        velocity = self._velocities[self._get_variable_index(variable)]
        direction = self.direction(gradient, variable, decay)
        self.assign(velocity, velocity * self.momentum + direction)
        self.assign_sub(variable, rate * velocity)

    def direction(self, gradient, variable, decay):
        """What is added to the velocity: here the gradient and coupled decay."""
        if not _is_decayed(variable):
            return gradient
        return gradient + variable * decay

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable(package="dino_tf")
class SGD(_Momentum):
    """SGD with momentum; the decay is added to the gradient.

    Args:
        learning_rate: Number or schedule.
        weight_decay: Number or schedule.
        momentum: Share of the velocity kept, in [0, 1).
        **kwargs: As for Keras's; and `shares` as for `AdamW`.

    Reference:
        `torch.optim.SGD`, as facebookresearch/dino uses it.
    """

    def __init__(
        self, learning_rate=0.1, weight_decay=0.0, momentum=0.9, name="sgd", **kwargs
    ):
        super().__init__(learning_rate, weight_decay, momentum, name, **kwargs)


@keras.saving.register_keras_serializable(package="dino_tf")
class LARS(_Momentum):
    """SGD whose step for each variable is scaled to the variable's own length.

    Args:
        learning_rate: Number or schedule.
        weight_decay: Number or schedule, added to the gradient.
        momentum: Share of the velocity kept, in [0, 1).
        eta: Trust coefficient.
        **kwargs: As for Keras's; and `shares` as for `AdamW`.

    Reference:
        You et al. 2017, arXiv 1708.03888; facebookresearch/dino, `utils.py`, `LARS`
        (one-dimensional variables are neither decayed nor scaled).
    """

    def __init__(
        self,
        learning_rate=0.1,
        weight_decay=0.0,
        momentum=0.9,
        eta=0.001,
        name="lars",
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, momentum, name, **kwargs)
        self.eta = eta

    def direction(self, gradient, variable, decay):
        gradient = super().direction(gradient, variable, decay)
        if not _is_decayed(variable):
            return gradient
        length = ops.sqrt(ops.sum(ops.square(variable)))
        size = ops.sqrt(ops.sum(ops.square(gradient)))
        usable = ops.logical_and(length > 0, size > 0)
        trust = self.eta * length / ops.where(usable, size, ops.ones_like(size))
        return gradient * ops.where(usable, trust, ops.ones_like(trust))

    def get_config(self):
        return {**super().get_config(), "eta": self.eta}


OPTIMIZERS = {"adamw": AdamW, "sgd": SGD, "lars": LARS}
