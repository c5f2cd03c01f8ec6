"""What all methods with a weight budget share: the budget, and the places that it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.settings import check, setting


@dataclass(frozen=True)
class Budgeted(Method):
    """A method that ends with a given number of stored values.

    Parameters
    ----------
    budget : stored values of the whole model, those outside the competition (biases, gains) included
    density : in (0, 1], the share of the competing values that is kept; give this or a budget
    """

    budget: int | None = setting(None, "stored values of the whole model, biases included")
    density: float | None = setting(None, "share of the weights that is kept, in (0, 1]; instead of a budget")

    def __post_init__(self):
        if (self.budget is None) == (self.density is None):
            raise ValueError(f"budget={self.budget}, density={self.density}: give one of the two")
        check(self.budget is None or self.budget >= 0, "budget", self.budget, "must be >= 0")
        check(self.density is None or 0 < self.density <= 1, "density", self.density, "must lie in (0, 1]")

    def candidates(self, model: Model) -> dict[str, Parameter]:
        """The parameters whose values compete for the budget: by default the weights."""
        return {name: p for name, p in model.parameters.items() if p.role == "weight"}

    def places(self, model: Model) -> int:
        """How many of the candidates' values are kept in the end; ValueError if the budget does not fit."""
        total = sum(p.size for p in self.candidates(model).values())
        if self.density is not None:
            return round(self.density * total)
        outside = model.size - total
        if not outside <= self.budget <= model.size:
            raise ValueError(
                f"budget={self.budget:,} must lie between {outside:,} (values that {self.name} always stores) "
                f"and {model.size:,} (all values of {model.name})"
            )
        return self.budget - outside
