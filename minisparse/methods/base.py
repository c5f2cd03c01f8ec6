"""What a method is: hooks around the visible loop of train.py.

A method is a frozen dataclass of settings and holds no state: what it decides is left as facts on the
parameters (mask, rest_scale), with arrays in `p.notes` where it must remember more, and everything else
follows from the step number and the seed. So a checkpoint needs to know nothing about methods.

The loop calls, in this order:

    rewrite(model)                              when the run is made, also to resume it
    start(run)                                  once, before the first step (not after a resume)
    transform(p, w) -> (w', cache)              each step: the network runs on w' ...
    pullback(p, g, cache) -> g'                 ... and its gradient dL/dw' is carried back to w
    penalty(p) -> (loss, gradient)              added to the loss and to the gradient
    pace(run) -> (lr, weight decay)             of the coming step, for methods with several phases
    after_step(run)                             after the optimiser's step
    finish(run)                                 once, after the last step
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.settings import from_config, to_config

if TYPE_CHECKING:  # the loop knows methods, methods know only what a run offers
    from minisparse.run import Run


@dataclass(frozen=True)
class Method:
    """Dense training: the method that changes nothing, and the base of all others."""

    name: ClassVar[str] = "dense"
    registry: ClassVar[dict[str, type[Method]]] = {}
    regenerates: ClassVar[bool] = False
    """Whether it can train on regenerated stores, which hold what is stored and no more."""
    recipe: ClassVar[dict[str, Any]] = {}
    """Training settings that suit this method, used where the user names none."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if "name" in vars(cls):
            Method.registry[cls.name] = cls

    def rewrite(self, model: Model) -> None:
        """Give the model the layers that the method needs, in place; a second call changes nothing."""

    def start(self, run: Run) -> None:
        """Check the settings against the model, set first masks and rest scales."""

    def transform(self, p: Parameter, w: np.ndarray) -> tuple[np.ndarray, Any]:
        return w, None

    def pullback(self, p: Parameter, g: np.ndarray, cache: Any) -> np.ndarray:
        return g

    def penalty(self, p: Parameter) -> tuple[float, np.ndarray | float]:
        return 0.0, 0.0

    def pace(self, run: Run) -> tuple[float, float]:
        return run.settings.learning_rate(run.progress), run.settings.weight_decay

    def after_step(self, run: Run) -> None:
        """Move masks, reset what left them."""

    def finish(self, run: Run) -> None:
        """Leave the facts that the compressor reads."""

    @classmethod
    @cache
    def owns(cls, *hooks: str) -> bool:
        """Whether one of these hooks is not the base's, which does nothing."""
        return any(getattr(cls, hook) is not getattr(Method, hook) for hook in hooks)

    def config(self) -> dict[str, Any]:
        """The name and the settings: plain JSON values."""
        return {"name": self.name, **to_config(self)}

    @staticmethod
    def from_config(config: dict[str, Any]) -> Method:
        """The method that `config` describes; ValueError if there is none of this name or a setting is wrong."""
        settings = dict(config)
        name = settings.pop("name", None)
        if name not in Method.registry:
            raise ValueError(f"method {name!r} is unknown; there are: {', '.join(Method.registry)}")
        return Method.registry[name].from_settings(settings)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Method:
        return from_config(cls, settings)

    @classmethod
    def examples(cls) -> list[Method]:
        """Settings on which the contract test runs, for a model of 100 to 500 weights."""
        return [cls()]


Method.registry[Method.name] = Method
