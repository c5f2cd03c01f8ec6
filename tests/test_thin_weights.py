"""Once a mask is fixed and thin, training goes on in the sparse store; and whatever happens, rest is rest."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from minisparse.checkpoint import RunFolder
from minisparse.compressed import compress
from minisparse.data import from_arrays
from minisparse.methods import SNIP, Compose, DropBack, Magnitude, Method, RandomPruning
from minisparse.methods.pruning import Pruning
from minisparse.model import Model
from minisparse.models import build
from minisparse.params import Init
from minisparse.run import THIN_MATRIX, Run, TrainSettings, thin
from minisparse.stores import DenseStore, SparseStore
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import end_epoch, fit, train_step

OPTIMIZERS = [{"optimizer": "sgd"}, {"optimizer": "sgd", "nesterov": True}, {"optimizer": "adam", "lr": 0.01}]


def run_of(method: Method, **changed) -> Run:
    return Run(small_model(), small_data(), method, replace(SETTINGS, **changed))


def started(method: Method, **changed) -> Run:
    run = run_of(method, **changed)
    method.start(run)
    return run


def sparse(run: Run) -> list[str]:
    return [name for name, p in run.model.parameters.items() if isinstance(p.store, SparseStore)]


@pytest.mark.parametrize(("density", "expected"), [(0.1, 2), (THIN_MATRIX, 2), (0.55, 0), (1.0, 0)])
def test_weights_are_held_sparse_from_the_step_after_their_mask_is_fixed_if_it_is_thin(density, expected):
    run = started(RandomPruning(density=density, allocation="uniform"))
    assert sparse(run) == []
    train_step(run)
    assert len(sparse(run)) == expected
    assert all(name.endswith("weight") for name in sparse(run))


def test_a_convolution_is_held_sparse_at_densities_where_a_matrix_is_dense_unless_it_goes_by_tiles():
    shapes = (16, 16, 3, 3), (8, 9), (16, 16, 3, 2), (16, 1, 3, 3)
    tiled, matrix, convolution, few = (thin(DenseStore(np.zeros(shape), Init("constant", 0.0))) for shape in shapes)
    assert 0 < tiled < matrix < convolution == few < 1


def test_the_setting_dense_keeps_them_dense():
    run = started(RandomPruning(density=0.1), store="dense")
    train_step(run)
    assert sparse(run) == []
    assert run.why_dense() == "store=dense"


def test_the_log_says_why_a_masked_weight_is_computed_as_a_dense_one():
    run = started(RandomPruning(density=0.55, allocation="uniform"))
    assert run.why_dense() == "fc1.weight: density 0.55 > 0.5; fc2.weight: density 0.55 > 0.5"
    assert end_epoch(run)["dense_because"] == run.why_dense()
    assert started(Method()).why_dense() == ""


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5-caffe", "resnet-20"])
def test_a_fiftieth_of_the_weights_trains_in_a_twentieth_of_their_memory(name):
    shape = (3, 32, 32) if name == "resnet-20" else (1, 28, 28)
    model = build(name, shape, 10)
    x = np.zeros((40, *shape), np.float32)
    data = from_arrays("none", (x, np.zeros(40, int)), (x, np.zeros(40, int)), classes=10)
    run = Run(model, data, RandomPruning(density=0.02), replace(SETTINGS, batch=20, optimizer="sgd"))
    run.method.start(run)
    train_step(run)
    # weights with the places of the kept ones, gradients, momentum
    held = sum(model.memory().values()) + sum(state.nbytes for state in run.optimizer.state.values())
    dense = 3 * 4 * model.size
    assert held < 0.05 * dense


@pytest.mark.parametrize("method", [DropBack(budget=20, freeze=0.1), DropBack(budget=20)])
def test_weights_over_a_rest_that_is_not_zero_and_masks_that_still_move_stay_dense(method):
    run = started(method)
    for _ in range(run.total_steps):
        train_step(run)
        assert sparse(run) == []


def test_decayed_weights_that_are_frozen_are_held_sparse():
    run = started(DropBack(budget=20, freeze=0.2, decay=0.5, decay_steps=5))
    for _ in range(run.total_steps):
        train_step(run)
    assert len(sparse(run)) == 2


@pytest.mark.parametrize("changed", OPTIMIZERS)
def test_no_value_and_no_optimiser_state_changes_with_the_store(changed):
    run = started(SNIP(density=0.2, floor=1), store="dense", **changed)
    for _ in range(3):
        train_step(run)
    values = {name: p.value().copy() for name, p in run.model.parameters.items()}
    state = {slot: array.copy() for slot, array in run.optimizer.state.items()}
    run.settings = replace(run.settings, store="auto")
    run.hold_thin_weights_sparse()
    assert sparse(run) == ["fc1.weight", "fc2.weight"]
    for name in sparse(run):
        mask = run.model.parameters[name].mask
        np.testing.assert_array_equal(run.model.parameters[name].value(), values[name])
        held = [slot for slot in state if slot.endswith("/" + name)]
        assert held
        for slot in held:
            np.testing.assert_array_equal(run.optimizer.state[slot], state[slot][mask])
        run.hold_dense(name)
    for name, p in run.model.parameters.items():
        assert p.value().tobytes() == values[name].tobytes()
    assert all(run.optimizer.state[slot].tobytes() == array.tobytes() for slot, array in state.items())


@pytest.mark.parametrize("changed", OPTIMIZERS)
def test_sparse_and_dense_training_take_the_same_way(changed):
    runs = []
    for store in ("auto", "dense"):
        run = Run(
            Model("small", small_model().net, (8,), 5, np.float64),
            small_data(),
            Magnitude(density=0.2, begin=0.2, end=0.6, every=1),
            replace(SETTINGS, store=store, **changed),
        )
        run.method.start(run)
        runs.append(run)
    for _ in range(runs[0].total_steps):
        losses = [train_step(run) for run in runs]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert len(sparse(runs[0])) == 2
    for name, p in runs[0].model.parameters.items():
        other = runs[1].model.parameters[name]
        assert p.mask is other.mask or (p.mask == other.mask).all()
        # the same sums in another order, over 12 steps in float64
        np.testing.assert_allclose(p.value(), other.value(), rtol=1e-9, atol=1e-12)


def test_a_finished_model_is_dense_answers_as_its_file_and_the_log_says_what_was_sparse():
    run = fit(small_model(), small_data(), Magnitude(density=0.1, begin=0.3, end=0.6, every=1), SETTINGS)
    assert [row["sparse"] for row in run.rows] == [0, 2, 2]
    assert all(isinstance(p.store, DenseStore) for p in run.model.parameters.values())
    x = run.data.test.samples()
    np.testing.assert_array_equal(compress(run.model).model().predict(x), run.model.predict(x))


def test_a_sparse_run_that_is_killed_goes_on_bit_for_bit(tmp_path):
    whole = started(RandomPruning(density=0.1), optimizer="adam")
    for step in range(whole.total_steps):
        folder = RunFolder(tmp_path / str(step))
        folder.save(whole)
        resumed = run_of(whole.method, optimizer="adam")
        assert folder.restore(resumed) and sparse(resumed) == sparse(whole)
        assert train_step(whole) == train_step(resumed)
        assert {k: v.tobytes() for k, v in whole.optimizer.state.items()} == {
            k: v.tobytes() for k, v in resumed.optimizer.state.items()
        }


def test_the_pace_of_a_composition_is_that_of_its_first_part_with_phases():
    class Slow(Method):
        def pace(self, run):
            return 0.5, 0.25

    run = run_of(Compose(RandomPruning(density=0.5), Slow(), Method()))
    assert run.method.pace(run) == (0.5, 0.25)
    assert Compose(Method()).pace(run) == (run.settings.learning_rate(0.0), SETTINGS.weight_decay)


def test_a_store_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="store=sparse"):
        TrainSettings(store="sparse")


class MasksAndMemory(RuleBasedStateMachine):
    """Cuts, steps, changes of store, saves and resumes, in any order."""

    @initialize(
        optimizer=st.sampled_from(range(len(OPTIMIZERS))),
        store=st.sampled_from(["auto", "dense"]),
        allocation=st.sampled_from(["global", "uniform", "erk"]),
        seed=st.integers(0, 99),
    )
    def begin(self, optimizer, store, allocation, seed):
        method = Pruning(density=1.0, allocation=allocation, floor=1)
        self.settings = replace(SETTINGS, epochs=100, store=store, seed=seed, **OPTIMIZERS[optimizer])
        self.run = Run(small_model(seed), small_data(), method, self.settings)
        self.k = 120
        self.run.hold_thin_weights_sparse()

    @rule(count=st.integers(1, 4))
    def train(self, count):
        for _ in range(count):
            train_step(self.run)

    @rule(share=st.floats(0.05, 1.0), tied=st.booleans())
    def cut(self, share, tied):
        self.k = max(2, round(share * self.k))
        scores = [
            np.zeros(p.shape) if tied else np.where(p.mask is None or p.mask, np.abs(p.value()), -1).astype(np.float64)
            for p in self.run.method.candidates(self.run.model).values()
        ]
        self.run.method.cut(self.run, scores, self.k)

    @rule()
    def hold_dense(self):
        for name in self.run.model.parameters:
            self.run.hold_dense(name)

    @rule()
    def save_and_resume(self):
        with tempfile.TemporaryDirectory() as folder:
            RunFolder(folder).save(self.run)
            resumed = Run(small_model(self.settings.seed), small_data(), self.run.method, self.settings)
            assert RunFolder(folder).restore(resumed)
        self.run = resumed

    @invariant()
    def what_is_pruned_is_zero_and_has_no_state(self):
        if not hasattr(self, "run"):
            return
        assert sum(p.kept for p in self.run.method.candidates(self.run.model).values()) == self.k
        for name, p in self.run.model.parameters.items():
            if p.mask is None:
                continue
            assert p.value()[~p.mask].tobytes() == np.zeros(p.size - p.kept, p.value().dtype).tobytes()
            for slot, state in self.run.optimizer.state.items():
                if slot.partition("/")[2] == name:
                    assert state.shape == p.store.values.shape
                    assert state.shape != p.shape or not state[~p.mask].any()


TestMasksAndMemory = MasksAndMemory.TestCase
TestMasksAndMemory.settings = settings(max_examples=500, stateful_step_count=8, deadline=None)
