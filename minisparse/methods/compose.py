"""Several methods at once: their hooks run in the order that is read, the pullbacks in reverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from minisparse.methods.base import Method


@dataclass(frozen=True, init=False)
class Compose(Method):
    """Compose(a, b): w' = b.transform(a.transform(w)), penalties add up, after_step of a, then of b."""

    name: ClassVar[str] = "compose"

    methods: tuple[Method, ...]

    def __init__(self, *methods: Method):
        object.__setattr__(self, "methods", methods)

    @property
    def recipe(self) -> dict[str, Any]:
        """The parts' recipes; where two differ, the first one's."""
        return {name: value for method in reversed(self.methods) for name, value in method.recipe.items()}

    def config(self):
        return {"name": self.name, "methods": [method.config() for method in self.methods]}

    @classmethod
    def from_settings(cls, settings):
        return cls(*(Method.from_config(config) for config in settings["methods"]))

    def rewrite(self, model):
        for method in self.methods:
            method.rewrite(model)

    def start(self, run):
        for method in self.methods:
            method.start(run)

    def transform(self, p, w):
        caches = []
        for method in self.methods:
            w, cache = method.transform(p, w)
            caches.append(cache)
        return w, caches

    def pullback(self, p, g, cache):
        for method, its_cache in zip(reversed(self.methods), reversed(cache), strict=True):
            g = method.pullback(p, g, its_cache)
        return g

    def penalty(self, p):
        penalties = [method.penalty(p) for method in self.methods]
        return sum(loss for loss, _ in penalties), sum(gradient for _, gradient in penalties)

    def pace(self, run):
        """Of the first part that sets its own."""
        own = (method for method in self.methods if type(method).pace is not Method.pace)
        return next(own, Method()).pace(run)

    def after_step(self, run):
        for method in self.methods:
            method.after_step(run)

    def finish(self, run):
        for method in self.methods:
            method.finish(run)

    @classmethod
    def examples(cls):
        return [cls(), cls(Method(), Method())]
