"""Optimisers: one step on the stored entries of each parameter, whatever its store.

State is a flat dictionary of arrays, "slot/parameter name", each shaped like the parameter's stored
values: the checkpoint writes it as it is. Weight decay pulls towards the rest value, so that an entry
at rest with no gradient stays there to the bit.
"""

from collections.abc import Mapping

import numpy as np

from minisparse.params import Parameter


class Optimizer:
    """Base: weight decay and state.

    Parameters
    ----------
    weight_decay : lambda >= 0 in g <- g + lambda (w - rest)
    """

    def __init__(self, weight_decay: float = 0.0):
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        self.state: dict[str, np.ndarray] = {}

    def step(self, parameters: Mapping[str, Parameter], lr: float) -> None:
        """w <- w - lr * direction(g) for every parameter."""
        for name, p in parameters.items():
            g = p.store.grad
            if self.weight_decay:
                g = g + self.weight_decay * self._from_rest(p)
            p.store.values -= lr * self.direction(name, g)

    def direction(self, name: str, g: np.ndarray) -> np.ndarray:
        """What is subtracted, lr apart; advances the state of this parameter."""
        raise TypeError(f"{type(self).__name__} defines no direction")

    def forget(self, name: str, mask: np.ndarray) -> None:
        """Zero the state of the entries off the mask."""
        for slot, array in self.state.items():
            if slot.partition("/")[2] == name and array.shape == mask.shape:
                array[~mask] = 0

    def _slot(self, slot: str, name: str, like: np.ndarray) -> np.ndarray:
        key = f"{slot}/{name}"
        if key not in self.state:
            self.state[key] = np.zeros_like(like)
        return self.state[key]

    @staticmethod
    def _from_rest(p: Parameter) -> np.ndarray:
        return p.store.values if p.store.rest.is_zero else p.store.values - p.store.rest_values()


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    v <- momentum v + g;   w <- w - lr v,   or w <- w - lr (g + momentum v) with Nesterov's look-ahead.
    """

    def __init__(self, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0):
        super().__init__(weight_decay)
        self.momentum = _in_unit_interval("momentum", momentum)
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs momentum > 0")
        self.nesterov = nesterov

    def direction(self, name, g):
        if not self.momentum:
            return g
        v = self._slot("velocity", name, g)
        v *= self.momentum
        v += g
        return g + self.momentum * v if self.nesterov else v

    def follow(self, name: str, source: np.ndarray, g: np.ndarray) -> None:
        """The state of a parameter that now stores other entries.

        Parameters
        ----------
        source : (K,) int64, where each entry was before, or -1 for one whose first step, from rest, was along `g`
        g : (K,)
        """
        key = f"velocity/{name}"
        if key in self.state:
            stayed = source >= 0
            velocity = g.copy()
            velocity[stayed] = self.state[key][source[stayed]]
            self.state[key] = velocity


class Adam(Optimizer):
    """Adam (Kingma, Ba, 2015, arXiv 1412.6980, algorithm 1).

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;
    w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0):
        super().__init__(weight_decay)
        self.betas = tuple(_in_unit_interval("betas", beta) for beta in betas)
        if eps <= 0:
            raise ValueError(f"eps={eps} must be > 0")
        self.eps = eps
        self.state["t"] = np.zeros(1, np.int64)

    def step(self, parameters, lr):
        self.state["t"] += 1
        super().step(parameters, lr)

    def direction(self, name, g):
        (b1, b2), t = self.betas, int(self.state["t"][0])
        m, v = self._slot("mean", name, g), self._slot("square", name, g)
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        return (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + self.eps)


def _at_least_zero(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name}={value} must be >= 0")
    return value


def _in_unit_interval(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} must lie in [0, 1)")
    return value
