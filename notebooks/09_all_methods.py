# %% [markdown]
# # 09 · All methods in one table
#
# Which method should you use, and how sure can you be?
#
# *This chapter trains nothing large: it reads the recorded runs of `docs/results`, made by `minisparse reproduce`, most of them on MNIST, the usual set of 70,000 handwritten digits; and it holds a small race on the
# bundled digits that anybody can rerun in half a minute.*

# %% [markdown]
# ## The question
#
# Every paper has a table in which its own method wins. To compare them, everything else must be equal: network, data, epochs, the number of stored values, the care with which settings were chosen. The recorded runs hold as much of that
# equal as we could; where they differ, the row says so.
#
# A method $A$ **dominates** $B$ if it is better in one respect and no worse in the other, here error $e$ and file size $S$:
#
# $$A \succ B \iff e_A \le e_B,\; S_A \le S_B, \text{ and one of the two strictly.} \tag{1}$$
#
# What nobody dominates is the **Pareto front**: the methods among which only your taste decides. By hand, four methods as (bytes, error):

# %%
import json

import numpy as np

import minisparse as ms
from minisparse import lesson
from minisparse.methods.base import Method
from minisparse.methods.deep_compression import DeepCompression
from minisparse.methods.lsq import LSQ
from minisparse.palette import pyplot
from minisparse.reproduce import ROWS, figures, results
from minisparse.reproduce.report import Outcome


def front(points):
    """Names of those that no other dominates (eq. 1): {name: (bytes, error)}."""
    better = lambda a, b: a[0] <= b[0] and a[1] <= b[1] and a != b  # noqa: E731
    return [name for name, point in points.items() if not any(better(other, point) for other in points.values())]


points = {"A": (100, 2.0), "B": (40, 3.0), "C": (50, 3.5), "D": (30, 6.0)}
print("on the front:", front(points), "- C is dominated by B")
assert front(points) == ["A", "B", "D"]

# %% [markdown]
# ## The recorded runs
#
# One JSON file a row, named method/network/amount, where the amount is the number of stored values or the share of kept weights: the recipe, and for each seed the test error, read once. The library's own view of a row is an `Outcome`:

# %%
lesson.show(Outcome.ours.fget, Outcome.verdict.fget)

# %%
recorded = {row.key: results.load(row, results.folder()) for row in ROWS if row.recipe}
recorded = {key: runs for key, runs in recorded.items() if runs}
table = []
for row in ROWS:
    line, runs = Outcome(row, recorded).line(), recorded.get(row.key)
    if runs and (row.paper or line["asked"] != "-"):  # the others are there for comparison: docs/REPRODUCTIONS.md
        stored = f"{np.mean([run['kept'] for run in runs]) / runs[0]['size']:.1%}"
        figures_of = {"paper (%)": line["paper"], "ours (%)": line["ours"], "asked (%)": line["asked"]}
        table.append({"row": row.key, "stored": stored, **figures_of, "verdict": line["verdict"]})
if table:
    lesson.table(table)
else:
    print("no runs are recorded yet in docs/results: `minisparse reproduce --record` writes them")

# %% [markdown]
# "Recalled" figures stand from memory and were not compared with the paper. *Asked* is what we set out to reach, most of it somewhat above the paper's figure. Rows that end in `plain` are trained on the images as they are, the
# others on images that are shifted at random by up to one pixel. Where a cell says *missed by*, the reason stands in `docs/REPRODUCTIONS.md`. A mean of wild runs would be no figure at all, so:

# %%
for row in ROWS:
    if len(recorded.get(row.key, [])) >= 3 and row.accept is not None:
        outcome = Outcome(row, recorded)
        spread = np.ptp(outcome.errors)
        assert spread < max(1.0, 0.5 * outcome.mean), f"{row.key}: seeds differ by {spread:.2f} points"

# %% [markdown]
# Every file was written, so each row is a point in the plane of eq. 1. Letters are what papers state for their own networks, which were not measured here.

# %% tags=["folded"]
drawn = figures.error_against_bytes(pyplot(), ROWS, recorded)
if drawn:
    drawn.set_size_inches(9.6, 7)
    for axes in drawn.axes:
        axes.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.06), frameon=False)
    lesson.figure(
        drawn,
        "Two panels, LeNet-300-100 and LeNet-5 on MNIST: test error against the size of the file in KiB, both logarithmic, a marker for each recorded row, one shape and colour a method; letters stand for figures that papers state. "
        "From the large files at the right to the small ones at the left the error of each method rises.",
    )
else:
    print("not enough recorded runs tell the bytes of their files yet")

# %% [markdown]
# ## The race: eight methods, one budget of attention
#
# 64-100-100-10 on the bundled digits: 30 epochs, batches of 50, five seeds, densities of 10 % and 5 % of the weights, each method with its recipe's learning rate. Error against the bytes of a file that was written.

# %%
SEEDS = range(5)
PRUNED = {"batch": 50, "weight_decay": 1e-4}
ENTRIES = {
    "dense": [(Method(), {"lr": 0.4, "momentum": 0.0, "batch": 50, "schedule": "step"})],
    "dropback": [(ms.DropBack(density=d), {}) for d in (0.1, 0.05)],
    "magnitude": [(ms.Magnitude(density=d, floor=1), PRUNED) for d in (0.1, 0.05)],
    "snip": [(ms.SNIP(density=d, floor=1), PRUNED) for d in (0.1, 0.05)],
    "espn-rewind": [(ms.ESPNRewind(density=d, floor=1), PRUNED) for d in (0.1, 0.05)],
    "random": [(ms.RandomPruning(density=d, floor=1), PRUNED) for d in (0.1, 0.05)],
    "deep-compression": [(DeepCompression(density=d, bits=4, floor=1), PRUNED) for d in (0.1, 0.05)],
    "lsq, 2 bits": [(LSQ(bits=2, begin=0.3), {"batch": 50})],
}


def race(method, settings, seed):
    """(bytes, error) of one run."""
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    ms.fit(model, data, method, ms.TrainSettings(**{"epochs": 30, **method.recipe, **settings, "seed": seed}))
    return ms.compress(model).file_bytes, ms.evaluate(model, data.test).error


raced = {}
for name, many in ENTRIES.items():
    for method, settings in many:
        density = getattr(method, "density", None)
        entry = name if density is None else f"{name}, {density:.0%}"
        raced[entry] = np.array([race(method, settings, seed) for seed in SEEDS])
means = {name: tuple(runs.mean(axis=0)) for name, runs in raced.items()}
best = front(means)
lines = []
for name, (size, error) in sorted(means.items()):
    errors = raced[name][:, 1]
    line = {"method": name, "file (bytes)": round(size), "test error (%)": error, "least": errors.min()}
    lines.append({**line, "largest": errors.max(), "on the front": "yes" if name in best else ""})
lesson.table(lines)

# %% tags=["thumbnail", "folded"]
fig, axes = lesson.panels(height=4.2)
markers = dict(zip(ENTRIES, "osDv^PXd", strict=True))
for name, runs in raced.items():
    method = name.rpartition(", ")[0] if name.endswith("%") else name
    colour = lesson.COLOURS.get(method, lesson.SKY)
    filled = colour if not name.endswith(", 5%") else "none"
    size, error = means[name]
    axes.plot(runs[:, 0], runs[:, 1], ".", color=colour, alpha=0.35)
    axes.plot(size, error, markers[method], color=colour, markerfacecolor=filled, markersize=8, label=name)
ordered = sorted(means[name] for name in best)
axes.plot(*zip(*ordered, strict=True), color=lesson.GREY, linewidth=1, linestyle="--", zorder=0, label="Pareto front")
axes.set(xscale="log", yscale="log", xlabel="bytes of the file (measured)", ylabel="test error (%)", title="Dots: five seeds; large: their mean, open at 5 %. Best is bottom left.")
axes.set_yticks([2, 3, 5, 10, 20, 40], ["2", "3", "5", "10", "20", "40"])
axes.set_xticks([2_000, 5_000, 10_000, 20_000, 60_000], ["2 kB", "5 kB", "10 kB", "20 kB", "60 kB"])
axes.minorticks_off()
axes.legend(fontsize=7.5, ncols=2, loc="upper right")
lesson.figure(
    fig,
    "Pareto picture: test error against bytes of the file for eight methods at two densities, five seeds each. The dashed front runs from Deep Compression at the lower left, near two kilobytes, over quantised and pruned "
    "networks to the dense one at the right; random pruning lies far above it.",
)

# %% tags=["headline"]
small = min(best, key=lambda name: means[name][0])
lesson.headline(
    f"{len(best)} of {len(means)} entries are on the front of bytes and error; the smallest, {small}, takes {means[small][0]:,.0f} bytes at {means[small][1]:.1f} %, the dense network {means['dense'][0]:,.0f} at "
    f"{means['dense'][1]:.1f} %; five seeds, bundled digits, measured"
)

# %%
lesson.claim("random at 10 %: points above magnitude at 10 %", means["random, 10%"][1] - means["magnitude, 10%"][1], 2, 7)
lesson.claim("Deep Compression over magnitude at 10 %, bytes", means["deep-compression, 10%"][0] / means["magnitude, 10%"][0], 0.3, 0.45)
assert not any(name.startswith("random") for name in best)
for name in ("magnitude, 5%", "snip, 5%", "espn-rewind, 5%", "random, 5%"):  # the first surprise below
    assert all(np.less(means["lsq, 2 bits"], means[name])), f"LSQ is not smaller and better than {name}"

# %% [markdown]
# ## Is the order real?
#
# Means of five seeds differ by chance. Draw the five runs of each method again and again, with replacement (the **bootstrap**), and count how often one beats the other:

# %%
from minisparse import rng


def beats(a, b, draws=4_000):
    """How often a redrawn mean of errors `a` is below one of `b`."""
    stream = rng.Stream(0, "bootstrap")
    first, second = (e[stream.integers(len(e), draws * len(e)).reshape(draws, -1)].mean(axis=1) for e in (a, b))
    return float(np.mean(first < second) + 0.5 * np.mean(first == second))


pairs = (("magnitude", "random"), ("magnitude", "snip"), ("espn-rewind", "magnitude"), ("dropback", "magnitude"))
for pair in pairs:
    a, b = (f"{name}, 10%" for name in pair)
    print(f"{a:18} beats {b:16} in {beats(raced[a][:, 1], raced[b][:, 1]):6.1%} of the draws")
lesson.claim("magnitude beats random", beats(raced["magnitude, 10%"][:, 1], raced["random, 10%"][:, 1]), 0.95, 1)
lesson.claim("DropBack beats magnitude", beats(raced["dropback, 10%"][:, 1], raced["magnitude, 10%"][:, 1]), 0.05, 0.95)

# %% [markdown]
# Near 100 % the order would most likely stand with five other seeds; between 5 % and 95 % it is anybody's guess.

# %% [markdown]
# ## Break it on purpose
#
# Give one method four times the epochs of the others. At 5 %, SNIP is the last but random; now it draws level with ESPN-Rewind, and nothing in the table would show why:

# %%
long = np.array([race(ms.SNIP(density=0.05, floor=1), PRUNED | {"epochs": 120}, seed)[1] for seed in SEEDS])
short, other = raced["snip, 5%"][:, 1], raced["espn-rewind, 5%"][:, 1]
print(f"SNIP at 5 %: 30 epochs {short.mean():.2f} %, 120 epochs {long.mean():.2f} %;  ESPN-Rewind, 30 epochs: {other.mean():.2f} %")
lesson.claim("points that four times the epochs are worth", short.mean() - long.mean(), 0.5, 2.5)
lesson.claim("SNIP with 120 epochs: points above ESPN-Rewind with 30", long.mean() - other.mean(), -0.8, 0.6)

# %% [markdown]
# ## The papers' figures beside ours
#
# They are the recorded table above, a row each with the verdict; the reasons for gaps stand in `docs/REPRODUCTIONS.md`. Everything on this page is *measured*.

# %% [markdown]
# ## What surprised us
#
# * **Two bits for every weight beat 32 bits for one of twenty:** LSQ is smaller and better than every network that was pruned to 5 % and keeps whole floats.
# * **Some orders are closer than their seeds.** Between DropBack, ESPN-Rewind and gradual magnitude, five runs of a small network do not decide.
# * **The recipe is part of the method.** More epochs alone move SNIP by more than the next better method is away.

# %% [markdown]
# ## Exercises
#
# **Exercise 9.1.** Write the Pareto front of eq. 1 for arrays.

# %% tags=["exercise"]
def on_front(size, error):
    """size, error (n,) -> bool mask (n,)."""
    return ...


# %% tags=["check"]
@lesson.exercise("9.1")
def check():
    size, error = np.array([100, 40, 50, 30, 30]), np.array([2.0, 3.0, 3.5, 6.0, 7.0])
    got = on_front(size, error)
    assert isinstance(got, np.ndarray), "a bool array"
    assert got.tolist() == [True, True, False, True, False], f"{got}"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def on_front(size, error):
#     no_worse = (size[:, None] <= size) & (error[:, None] <= error)
#     better = (size[:, None] < size) | (error[:, None] < error)
#     return ~(no_worse & better).any(axis=0)
# ```
#
# </details>

# %% [markdown]
# **Exercise 9.2.** Ten runs of a method have a standard deviation of 0.5 points. What is the standard deviation of their *mean*? How many runs bring it down to 0.05?

# %% tags=["exercise"]
of_the_mean, runs_needed = ..., ...

# %% tags=["check"]
@lesson.exercise("9.2")
def check():
    assert isinstance(of_the_mean, float), "two numbers"
    assert abs(of_the_mean - 0.158) < 0.001, "it shrinks with the square root of the runs"
    assert runs_needed == 100


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# of_the_mean = 0.5 / np.sqrt(10).item()
# runs_needed = 100
# ```
#
# </details>

# %% [markdown]
# **Exercise 9.3.** Read one recorded row yourself: given the text of a file of `docs/results`, return the mean test error.

# %% tags=["exercise"]
def mean_error(text):
    return ...


# %% tags=["check"]
@lesson.exercise("9.3")
def check():
    text = json.dumps({"key": "dropback/net/1500", "runs": [{"seed": 0, "test_error": 2.0}, {"seed": 1, "test_error": 3.0}]})
    assert mean_error(text) == 2.5, "json.loads, then the mean of test_error over the runs"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def mean_error(text):
#     runs = json.loads(text)["runs"]
#     return sum(run["test_error"] for run in runs) / len(runs)
# ```
#
# </details>
