"""Lottery tickets, and pruning after training."""

from dataclasses import replace

import numpy as np
import pytest

from minisparse.methods import LotteryTicket, Method, PruneRetrain
from minisparse.run import Run
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import train_step

LONG = replace(SETTINGS, epochs=10)


def started(method: Method, settings=LONG) -> Run:
    run = Run(small_model(), small_data(), method, settings)
    method.start(run)
    return run


def values(run: Run) -> dict[str, np.ndarray]:
    return {name: p.value().copy() for name, p in run.model.parameters.items()}


def kept(run: Run) -> int:
    return sum(p.kept for p in run.method.candidates(run.model).values())


@pytest.mark.parametrize("rewind_to", [0.0, 0.3])
def test_each_round_keeps_the_largest_survivors_and_takes_them_back_to_the_bit(rewind_to, monkeypatch):
    method, trained = LotteryTicket(density=0.8**3, rounds=3, rewind_to=rewind_to), []
    next_ticket = LotteryTicket.next_ticket

    def noted(self, run, r):
        trained.append(values(run))
        next_ticket(self, run, r)

    monkeypatch.setattr(LotteryTicket, "next_ticket", noted)
    run = started(method)
    first, later = method.lengths(run.total_steps)
    assert first + 3 * later == run.total_steps
    back, before = values(run), np.ones(120, bool)
    while run.step < run.total_steps:
        if run.step == first - later and rewind_to:
            back = values(run)
        rounds = len(trained)
        train_step(run)
        if len(trained) == rounds:
            continue
        assert run.step == first + rounds * later
        # the last count is 61, a whole number
        assert kept(run) == round(120 * (61 / 120) ** (len(trained) / 3))
        assert abs(kept(run) - 120 * 0.8 ** len(trained)) <= 1
        mask = np.concatenate([p.mask.ravel() for p in method.candidates(run.model).values()])
        size = np.concatenate([np.abs(trained[-1][name]).ravel() for name in method.candidates(run.model)])
        assert (mask <= before).all()
        assert size[mask].min() >= size[before & ~mask].max()
        before = mask
        assert not run.optimizer.state
        for name, p in run.model.parameters.items():
            where = True if p.mask is None else p.mask
            np.testing.assert_array_equal(p.value(), np.where(where, back[name], 0))
    assert len(trained) == 3
    assert all(not p.notes for p in run.model.parameters.values())


def test_without_late_rewinding_no_copy_is_held_and_the_start_is_regenerated():
    run = started(LotteryTicket(density=0.3, rounds=2))
    for _ in range(run.total_steps):
        train_step(run)
        assert all(not p.notes for p in run.model.parameters.values())


def test_every_training_runs_through_the_schedule_from_where_it_was_rewound_to():
    run = started(LotteryTicket(density=0.3, rounds=3, rewind_to=0.25), replace(LONG, schedule="cosine"))
    first, later = run.method.lengths(run.total_steps)
    rates = []
    for _ in range(run.total_steps):
        rates.append(run.method.pace(run)[0])
        train_step(run)
    assert rates[0] == run.settings.lr
    for r in range(3):
        assert rates[first + r * later : first + (r + 1) * later] == rates[first - later : first]


def test_redrawn_survivors_are_new_each_round():
    method = LotteryTicket(density=0.5, rounds=2, control="redraw")
    run, seen = started(method), []
    first, later = method.lengths(run.total_steps)
    while run.step < run.total_steps:
        train_step(run)
        if run.step in (first, first + later):
            p = run.model.parameters["fc1.weight"]
            seen.append(p.value().copy())
            assert (p.value() != p.initial())[p.mask].all()
    both = (seen[0] != 0) & (seen[1] != 0)
    assert (seen[0] != seen[1])[both].all()


@pytest.mark.parametrize("scale", ["deviation", "none"])
def test_prune_and_retrain_has_one_threshold_in_the_layers_units_and_keeps_the_survivors(scale, monkeypatch):
    method, trained = PruneRetrain(density=0.3, scale=scale), []
    cut = PruneRetrain.cut

    def noted(self, run, *arguments):
        trained.append(values(run))
        cut(self, run, *arguments)

    monkeypatch.setattr(PruneRetrain, "cut", noted)
    run = started(method)
    while not trained:
        assert all(p.mask is None for p in run.model.parameters.values())
        train_step(run)
    assert run.step == run.total_steps // 2 and not run.optimizer.state and kept(run) == 36
    units = {name: trained[0][name].std() if scale == "deviation" else 1 for name in method.candidates(run.model)}
    sizes = {name: np.abs(trained[0][name]) / units[name] for name in units}
    low = min(sizes[name][p.mask].min() for name, p in method.candidates(run.model).items())
    high = max(sizes[name][~p.mask].max() for name, p in method.candidates(run.model).items())
    assert low >= high
    for name, p in run.model.parameters.items():
        where = True if p.mask is None else p.mask
        np.testing.assert_array_equal(p.value(), np.where(where, trained[0][name], 0))


def test_retraining_runs_through_the_schedule_again_at_a_lower_rate():
    run = started(PruneRetrain(density=0.3, retrain=0.1), replace(LONG, schedule="cosine"))
    rates = []
    for _ in range(run.total_steps):
        rates.append(run.method.pace(run)[0])
        train_step(run)
    half = run.total_steps // 2
    np.testing.assert_allclose(rates[half:], 0.1 * np.array(rates[:half]), rtol=1e-12)


def test_a_layer_of_equal_weights_has_no_deviation_and_is_ranked_by_size():
    run = started(PruneRetrain(density=0.3, scale="deviation"))
    run.model.parameters["fc2.weight"].store.values[...] = 0.5
    scores = [run.method._score(p) for p in run.method.candidates(run.model).values()]
    np.testing.assert_array_equal(scores[1], 0.5)
    assert np.isfinite(scores[0]).all()


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: LotteryTicket(density=0.5, rounds=0), "rounds"),
        (lambda: LotteryTicket(density=0.5, rewind_to=1.0), "rewind_to"),
        (lambda: LotteryTicket(density=0.5, control="shuffle"), "control"),
        (lambda: started(LotteryTicket(density=0.5, rounds=200)), "rounds"),
        (lambda: PruneRetrain(density=0.5, cut_at=0.0), "cut_at"),
        (lambda: PruneRetrain(density=0.5, retrain=0.0), "retrain"),
        (lambda: PruneRetrain(density=0.5, scale="variance"), "scale"),
    ],
)
def test_wrong_settings_are_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()
