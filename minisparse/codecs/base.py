"""What a codec is: a frozen value that turns a vector into bytes and back, to the bit.

    data = codec.encode(array)
    array = codec.decode(data, count)

The number of entries is the caller's knowledge (a tensor's shape, a mask's number of kept entries) and is
not stored twice. Data may be hostile: decode checks every size before it allocates, uses all bytes, and
raises nothing but ValueError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Codec(ABC):
    """Base of all codecs; a subclass is registered under its `name`."""

    name: ClassVar[str]
    registry: ClassVar[dict[str, type[Codec]]] = {}

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if "name" in vars(cls):
            Codec.registry[cls.name] = cls

    @abstractmethod
    def encode(self, array: np.ndarray) -> bytes:
        """The bytes of a vector; ValueError if it is none that this codec takes."""

    @abstractmethod
    def decode(self, data: bytes, count: int) -> np.ndarray:
        """The vector of `count` entries that was encoded.

        Raises
        ------
        ValueError : data is cut short, goes on too long, or encodes no vector of this length.
        """

    @classmethod
    @abstractmethod
    def examples(cls) -> list[tuple[Codec, np.ndarray]]:
        """Codecs with a vector each, on which the contract test runs."""

    def to_config(self) -> list:
        """[name, {setting: value}] with defaults left out: plain JSON values."""
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return [self.name, {k: v for k, v in settings.items() if k not in defaults or v != defaults[k]}]

    @staticmethod
    def from_config(config: Any) -> Codec:
        """The codec that `config` describes; ValueError if it describes none."""
        try:
            name, settings = config
            return Codec.registry[name](**settings)
        except (TypeError, KeyError) as error:
            known = ", ".join(sorted(Codec.registry))
            raise ValueError(f"{str(config)[:80]} describes no codec; there are: {known}") from error


class MaskCodec(Codec):
    """A codec of masks, vectors of bool, which can also give the places of the kept entries alone."""

    @abstractmethod
    def places(self, data: bytes, count: int) -> np.ndarray:
        """Where the mask of `count` entries that was encoded is True: (K,) int64, increasing."""

    def decode(self, data, count):
        places = self.places(data, count)
        mask = np.zeros(count, bool)
        mask[places] = True
        return mask


def check_vector(array: np.ndarray, dtype: Any) -> None:
    """ValueError unless it is a vector of this dtype."""
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != dtype:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"array must be a vector of {np.dtype(dtype)}, not {found}")


def check_integer(name: str, value: Any, low: int, high: int) -> None:
    """ValueError unless low <= value <= high."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name}={value!r} must be an integer in [{low}, {high}]")


def check_count(count: int) -> None:
    """ValueError for a number of entries that no vector has."""
    check_integer("count", count, 0, 2**48)
