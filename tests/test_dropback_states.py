"""Whatever is done to a run, and in whatever order: the budget holds, and what is not stored stays at rest."""

import tempfile

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minisparse.checkpoint import RunFolder
from minisparse.compressed import compress
from minisparse.methods import DropBack
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import small_data, small_model
from minisparse.train import train_step


class Runs(RuleBasedStateMachine):
    """One run that trains, stops, resumes, ends, and is written as a file."""

    @initialize(
        budget=st.integers(0, 154),
        store=st.sampled_from(["auto", "dense", "regenerated"]),
        freeze=st.sampled_from([0.3, 1.0]),
        decay=st.sampled_from([1.0, 0.7]),
        momentum=st.sampled_from([0.0, 0.9]),
        weight_decay=st.sampled_from([0.0, 0.1]),
        lr=st.sampled_from([1e-6, 0.1, 1.0]),
    )
    def start(self, budget, store, freeze, decay, momentum, weight_decay, lr):
        self.method = DropBack(budget=budget, freeze=freeze, decay=decay, decay_steps=5)
        self.settings = TrainSettings(3, 10, lr=lr, momentum=momentum, weight_decay=weight_decay, store=store)
        self.folder, self.saved = tempfile.TemporaryDirectory(), None
        self.run = self.fresh()
        self.method.start(self.run)

    def fresh(self) -> Run:
        return Run(small_model(), small_data(), self.method, self.settings)

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @precondition(lambda self: self.run.step < self.run.total_steps)
    @rule(count=st.integers(1, 4))
    def train(self, count):
        for _ in range(min(count, self.run.total_steps - self.run.step)):
            train_step(self.run)
            self.the_budget_is_exact()
            self.what_is_not_stored_is_at_rest()

    @rule()
    def save(self):
        RunFolder(self.folder.name).save(self.run)
        self.saved = state(self.run)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def resume(self):
        self.run = self.fresh()
        assert RunFolder(self.folder.name).restore(self.run)
        assert state(self.run) == self.saved

    @rule()
    def compress(self):
        for name, p in compress(self.run.model).model().parameters.items():
            assert p.value().tobytes() == self.run.model.parameters[name].value().tobytes()

    @invariant()
    def the_budget_is_exact(self):
        if hasattr(self, "run"):
            assert self.run.model.kept == (self.method.budget if self.run.step else 0)

    @invariant()
    def what_is_not_stored_is_at_rest(self):
        if not hasattr(self, "run"):
            return
        rho = np.float32(self.method.rest_scale(self.run.step))
        for name, p in self.run.model.parameters.items():
            off = ~p.mask
            rest = p.initial() * rho if rho else np.zeros(p.shape, np.float32)
            assert p.value()[off].tobytes() == rest[off].tobytes()
            velocity = self.run.optimizer.state.get(f"velocity/{name}")
            if velocity is not None:
                assert velocity.shape == p.store.values.shape
                assert velocity.shape != off.shape or not velocity[off].any()


def state(run: Run) -> dict[str, bytes]:
    """All that a run carries, as bytes."""
    found = {name: p.value().tobytes() + p.mask.tobytes() for name, p in run.model.parameters.items()}
    found |= {name: array.tobytes() for name, array in run.optimizer.state.items()}
    return found | {"step": str(run.step).encode()} | {name: a.tobytes() for name, a in run.model.buffers.items()}


class TestRuns(Runs.TestCase):
    settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


@pytest.mark.deep
class TestManyRuns(Runs.TestCase):
    settings = settings(max_examples=500, stateful_step_count=15, deadline=None)
