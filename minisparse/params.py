"""A parameter: a named weight, its initial values, and the facts that a method leaves on it.

Rest value. A weight off the mask does not become zero: it sits at

    rest(i) = rest_scale * init(seed, i)                                                     (1)

with rest_scale 0 for pruning, 1 for DropBack, decay^t for DropBack with decaying initial weights. The
compressor, the memory account and the cost model read these facts and never ask which method ran.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from minisparse._core import rng as kernel
from minisparse.stores import DenseStore, RegeneratedStore, SparseStore, Store, put_at_rest

ROLES = ("weight", "bias", "gain", "step")


@dataclass(frozen=True)
class Init:
    """Initial values as a function of the flat index, float32, times `factor`.

    Parameters
    ----------
    kind : "normal" (near-normal, bounded by 3.46 scale), "uniform", or "constant"
    scale : standard deviation, or the constant
    key : int in [0, 2^64), which sequence
    factor : in [0, 1]; one further float32 multiplication, 0 gives +0 exactly
    """

    kind: str
    scale: float
    key: int = 0
    factor: float = 1.0

    def __post_init__(self):
        if self.kind not in ("normal", "uniform", "constant"):
            raise ValueError(f"kind={self.kind!r} is unknown: use 'normal', 'uniform' or 'constant'")
        if not 0 <= self.factor <= 1:
            raise ValueError(f"factor={self.factor} must lie in [0, 1]")

    @cached_property
    def is_zero(self) -> bool:
        return self.factor == 0 or (self.kind == "constant" and self.scale == 0)

    def range(self, start: int, stop: int) -> np.ndarray:
        """Values at the flat indices start to stop - 1: float32."""
        if self.is_zero or self.kind == "constant":
            return self._times_factor(np.full(stop - start, self.scale, np.float32))
        return self._times_factor(getattr(kernel, self.kind)(self.key, start, stop - start, self.scale))

    def at(self, index: np.ndarray) -> np.ndarray:
        """Values at any flat indices (K,) int64: float32."""
        if self.is_zero or self.kind == "constant":
            return self._times_factor(np.full(len(index), self.scale, np.float32))
        return self._times_factor(getattr(kernel, self.kind + "_at")(self.key, index, self.scale))

    def _times_factor(self, values: np.ndarray) -> np.ndarray:
        if self.is_zero:
            return np.zeros_like(values)
        return values if self.factor == 1 else values * np.float32(self.factor)


class Parameter:
    """A weight with a name, a role, and a store.

    Attributes
    ----------
    name : path in the model, such as "fc1.weight"
    role : "weight", "bias", "gain" (the scale of a normalisation), or "step" (of a quantiser; never decayed)
    init : Init of the values at the start of training
    dtype : of the values as they are made, float32 or float64
    store : DenseStore, SparseStore or RegeneratedStore, an operator to layers; made when it is first asked for
    notes : arrays that a method keeps beside the values, such as a copy to rewind to; a run's checkpoint
        holds them, a model's file does not
    """

    def __init__(self, shape: tuple[int, ...], init: Init, role: str = "weight"):
        if role not in ROLES:
            raise ValueError(f"role={role!r} is unknown: use one of {ROLES}")
        self.shape = tuple(shape)
        self.name = ""
        self.role = role
        self.init = init
        self.initialise(init.key)

    def initialise(self, key: int, dtype=np.float32) -> None:
        """Start values from this key; no mask, rest_scale 0."""
        self.init = replace(self.init, key=key)
        self.dtype = dtype
        vars(self).pop("store", None)
        self.notes: dict[str, np.ndarray] = {}

    @cached_property
    def store(self) -> Store:
        """How the values are held, dense until it is set."""
        values = self.init.range(0, self.size).astype(self.dtype, copy=False).reshape(self.shape)
        return DenseStore(values, replace(self.init, factor=0.0))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def kept(self) -> int:
        """Number of stored entries."""
        return self.store.kept

    @property
    def mask(self) -> np.ndarray | None:
        return self.store.mask

    @property
    def rest_scale(self) -> float:
        return self.store.rest.factor

    @rest_scale.setter
    def rest_scale(self, scale: float) -> None:
        self.store.rest = replace(self.init, factor=float(np.float32(scale)))

    def value(self) -> np.ndarray:
        """The whole weight, an array of `shape`."""
        return self.store.dense()

    def initial(self) -> np.ndarray:
        """w(0), regenerated: an array of `shape`, float32."""
        return self.init.range(0, self.size).reshape(self.shape)

    def distance(self) -> float:
        """|w - w(0)|, the Euclidean norm; of a weight at rest in w(0), only held entries are looked at."""
        if isinstance(self.store, SparseStore) and self.store.rest == replace(self.init, factor=1.0):
            return float(np.linalg.norm(self.store.values - self.store.rest_values()))
        return float(np.linalg.norm(self.value() - self.initial()))

    def rest(self) -> np.ndarray:
        """Eq. 1 for every entry: an array of `shape`, float32."""
        return self.store.rest.range(0, self.size).reshape(self.shape)

    def keep(self, mask: np.ndarray, frozen: bool = True, rest: np.ndarray | None = None) -> None:
        """Make this the mask: every entry off it returns to rest (the rest values, where the caller has them).

        A frozen mask also gives those entries no gradient; leave it open while entries compete.
        """
        if mask.shape != self.shape or mask.dtype != bool:
            raise ValueError(f"{self.name}: mask must be bool {self.shape}, not {mask.dtype} {mask.shape}")
        if not isinstance(self.store, DenseStore):
            if frozen and np.array_equal(mask, self.mask):  # nothing off it is held
                return
            raise ValueError(f"{self.name}: the mask of a sparse store is fixed; call to_dense() first")
        self.store.mask, self.store.frozen = mask, frozen
        put_at_rest(self.store.values, mask, self.rest() if rest is None else rest)

    def regenerate(self) -> None:
        """Hold no entry: all are at their initial values, made anew in each product, and compete for a place."""
        nothing = np.zeros(0, np.int64), np.zeros(0, self.dtype)
        self.store = RegeneratedStore(self.shape, *nothing, replace(self.init, factor=1.0))

    def hold(self, index: np.ndarray, values: np.ndarray, frozen: bool = True) -> None:
        """Hold these entries and no others: `keep` for a weight that is regenerated.

        Parameters
        ----------
        index : (K,) int64, flat places, strictly increasing;  values : (K,)
        frozen : as for keep
        """
        self.store = RegeneratedStore(self.shape, index, values, self.store.rest, frozen)

    def to_sparse(self) -> None:
        """Hold only the kept entries; every value stays the same to the bit."""
        if isinstance(self.store, DenseStore):
            self.store = SparseStore.from_dense(self.store)

    def to_dense(self) -> None:
        """Hold every entry; every value stays the same to the bit."""
        if isinstance(self.store, SparseStore):
            self.store = self.store.to_dense()

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.shape}, kept={self.kept}, rest_scale={self.rest_scale})"
