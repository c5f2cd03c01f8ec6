"""Optimisers: one step on the stored entries of each parameter, whatever its store.

State is a flat dictionary of arrays, "slot/parameter name", each shaped like the parameter's stored
values: the checkpoint writes it as it is. Weight decay pulls towards the rest value, so that an entry
at rest with no gradient stays there to the bit.
"""

from collections.abc import Callable, Mapping

import numpy as np

from minisparse._core import update as kernel
from minisparse.params import Parameter
from minisparse.stores import put_at_rest


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
        """One step of every parameter."""
        for name, p in parameters.items():
            store, decay = p.store, 0.0 if p.role == "step" else self.weight_decay
            rest = None if not decay or store.rest.is_zero else store.rest_values()
            self.update(name, store.values, store.grad, lr, decay, rest)

    def update(
        self, name: str, w: np.ndarray, g: np.ndarray, lr: float, decay: float = 0.0, rest: np.ndarray | None = None
    ) -> None:
        """One step of one array, in place, and of its state; `decay` pulls towards `rest`, None for zero."""
        raise TypeError(f"{type(self).__name__} defines no update")

    def forget(self, name: str, mask: np.ndarray) -> None:
        """Zero the state of the entries off the mask."""
        for slot in self._slots(name):
            if self.state[slot].shape == mask.shape:
                put_at_rest(self.state[slot], mask)

    def rearrange(self, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Bring the state of a parameter whose store has changed into its new shape."""
        for slot in self._slots(name):
            self.state[slot] = change(self.state[slot])

    def _slots(self, name: str) -> list[str]:
        return [slot for slot in self.state if slot.partition("/")[2] == name]

    def _slot(self, slot: str, name: str, like: np.ndarray) -> np.ndarray:
        key = f"{slot}/{name}"
        if key not in self.state:
            self.state[key] = np.zeros_like(like)
        return self.state[key]


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

    def update(self, name, w, g, lr, decay=0.0, rest=None):
        v = self._slot("velocity", name, w) if self.momentum else None
        kernel.sgd(w, g, rest, v, lr, decay, self.momentum, self.nesterov)


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

    def update(self, name, w, g, lr, decay=0.0, rest=None):
        m, v, t = self._slot("mean", name, w), self._slot("square", name, w), int(self.state["t"][0])
        kernel.adam(w, g, rest, m, v, lr, decay, self.betas, self.eps, t)


def _at_least_zero(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name}={value} must be >= 0")
    return value


def _in_unit_interval(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} must lie in [0, 1)")
    return value
