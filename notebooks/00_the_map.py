# %% [markdown]
# # 00 · The map
#
# Where do a network's bytes, time and energy go, and which idea attacks which?
#
# *This chapter needs nothing but NumPy. It shows the whole road once, on real digits, in under a minute; the others take one stretch each.*

# %% [markdown]
# ## The question
#
# A neural network is a list of numbers, its **weights**, and a recipe for multiplying them with inputs. Three bills arrive for each weight: it must be *stored* (four bytes as a
# 32-bit float), it must be *moved* from memory whenever it is used, and it must be *multiplied*. Moving costs most: on a chip, fetching one weight from memory outside it takes about as
# much energy as 140 multiplications with it.
#
# The papers in this book each refuse to pay one of the bills:
#
# | chapter | idea | what it saves |
# | --- | --- | --- |
# | [02 DropBack](02_dropback.ipynb) | a weight that has hardly moved is made again from a seed | storage and movement, *while training* too |
# | [03 SNIP, ESPN](03_snip_espn.ipynb) | remove connections before or during training | storage, movement, arithmetic |
# | [04 soft weight sharing](04_soft_weight_sharing.ipynb) | pull weights towards a few common values | bits a weight |
# | [05 quantisation](05_quantisation.ipynb) | train with few levels | bits a weight |
# | [06 Deep Compression](06_deep_compression.ipynb) | prune, share, code | bytes of the file |
# | [07 when sparse is fast](07_when_sparse_is_fast.ipynb) | multiply only what is there | time |
# | [08 what memory costs](08_what_memory_costs.ipynb) | count the words that cross the border of the chip | energy |
#
# [Chapter 01](01_backprop.ipynb) derives the gradients that all of them need, [chapter 09](09_all_methods.ipynb) puts all methods into one table, and
# [chapter 10](10_fool_yourself.ipynb) is about the ways to get such tables wrong.

# %%
import numpy as np

import minisparse as ms
from minisparse import lesson, params
from minisparse.cost import inference
from minisparse.cost.traffic import total
from minisparse.methods.base import Method

# %% [markdown]
# ## One equation for all of them
#
# A **mask** says which weights are *kept*, that is stored. What about the others? They need *some* value. Say that it is a multiple $\rho$ (rho) of the random value that weight $i$
# started from, which a generator can make again from a seed and the index $i$:
#
# $$\mathrm{rest}(i) = \rho \cdot \mathrm{init}(\mathrm{seed}, i) \tag{1}$$
#
# With $\rho = 0$ the others are zero: that is *pruning*. With $\rho = 1$ they stay where they started: that is *DropBack*. With $\rho$ shrinking from 1 to 0 the one becomes the other.
# Because all methods share eq. 1, one file format, one account of memory and one model of costs serve them all.

# %% [markdown]
# ## By hand: five weights, two kept

# %%
init = np.array([0.5, -1.0, 0.25, 0.75, -0.5])
stored = {1: 2.0, 3: -0.25}  # index: value
for rho, name in ((0.0, "pruning"), (1.0, "DropBack"), (0.5, "half way")):
    w = rho * init + 0.0  # eq. 1; + 0.0 makes 0 of -0
    for index, value in stored.items():
        w[index] = value
    print(f"rho = {rho:3}:", *(f"{value:7.3f}" for value in w), f"  ({name})")
print("bytes: 5 weights * 4 =", 5 * 4, " or 2 values * 4 + 2 places * 1 =", 2 * 4 + 2 * 1)

# %% [markdown]
# The library's parameter does the same. It holds the values, the mask and $\rho$; whatever wants to compress, count or save it reads these three facts and never asks which method left
# them.

# %%
lesson.show(params.Parameter.rest, params.Parameter.keep)

# %%
p = params.Parameter((5,), params.Init("normal", 1.0, key=7))
values = p.value().copy()
p.rest_scale = 1.0
p.keep(np.array([False, True, False, True, False]))
assert (p.value() == p.initial()).all() and p.kept == 2
p.rest_scale = 0.0
p.keep(p.mask)
print(p.value(), "kept:", p.kept)
assert np.count_nonzero(p.value()) == 2

# %% [markdown]
# ## The road, once
#
# *Data → model → method → training → file → cost.* Five **seeds** each, that is five runs that differ in everything random, on 1,797 real digits of 8 x 8 pixels. The network is 64-100-100-10
# (64 pixels in, two layers of 100 numbers, one number for each class) with 17,610 values, and every method but the *dense* one may store 1,500 of them. The **test error** is the share of 400 digits,
# never used in training, that it gets wrong. "Bytes" is the length of a file that was written, read back, and found to give the same answers to the last bit. *Magnitude* keeps the largest weights,
# *random* any; the others have a chapter each.

# %%
BUDGET, SEEDS = 1_500, range(5)
METHODS = {
    "dense": (Method(), {"lr": 0.4, "momentum": 0.0, "batch": 50, "schedule": "step"}),
    "dropback": (ms.DropBack(budget=BUDGET), {}),
    "magnitude": (ms.Magnitude(budget=BUDGET), {"batch": 50}),
    "snip": (ms.SNIP(budget=BUDGET), {"batch": 50}),
    "espn": (ms.ESPNRewind(budget=BUDGET), {"batch": 50, "weight_decay": 5e-4}),
    "random": (ms.RandomPruning(budget=BUDGET, floor=1), {"batch": 50}),
}


def travel(name, seed):
    method, recipe = METHODS[name]
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    ms.fit(model, data, method, ms.TrainSettings(**{"epochs": 30, **method.recipe, **recipe, "seed": seed}))
    file = ms.compress(model)
    again = ms.CompressedModel(file.to_bytes()).model()
    x = data.test.samples()
    assert (again.predict(x) == model.predict(x)).all()
    bill = total(inference(again, file.bytes_by_tensor()))
    return {
        "test error (%)": ms.evaluate(again, data.test).error,
        "kept": again.kept,
        "file (bytes)": file.file_bytes,
        "multiply-adds": bill["macs"],
        "energy, estimated (µJ)": bill["energy_uj"],
    }


journeys = {name: [travel(name, seed) for seed in SEEDS] for name in METHODS}
mean = {}
for name, many in journeys.items():
    mean[name] = {key: float(np.mean([one[key] for one in many])) for key in many[0]}
EXACT = ("test error (%)", "energy, estimated (µJ)")
lesson.table([{"method": name, **{k: v if k in EXACT else round(v) for k, v in row.items()}} for name, row in mean.items()])

# %% tags=["thumbnail", "folded"]
fig, axes = lesson.panels(height=3.8)
near = axes.inset_axes([0.25, 0.3, 0.42, 0.58])  # the crowd at the left, enlarged
for name, many in journeys.items():
    sizes, errors = [one["file (bytes)"] for one in many], [one["test error (%)"] for one in many]
    label = "espn-rewind" if name == "espn" else name
    for place in (axes, near):
        place.plot(sizes, errors, "o", color=lesson.COLOURS[name], alpha=0.35, markersize=4)
        place.plot(np.mean(sizes), np.mean(errors), "D", color=lesson.COLOURS[name], markersize=8, label=f"{label}, {np.mean(errors):.1f} %")
near.set(xlim=(5_550, 6_050), ylim=(2, 4.3))
near.set_title("the four small ones, enlarged", fontsize=8.5)
near.tick_params(labelsize=8)
axes.indicate_inset_zoom(near)
axes.set(xscale="log", yscale="log", xlabel="bytes of the file (measured)", ylabel="test error (%)", title="Small dots: five seeds. Diamonds: their mean. Best is bottom left.")
axes.set_yticks([2, 3, 5, 10], ["2", "3", "5", "10"])
axes.set_xticks([5_000, 10_000, 20_000, 60_000], ["5 kB", "10 kB", "20 kB", "60 kB"])
axes.minorticks_off()
axes.legend(loc="upper right")
lesson.figure(
    fig,
    "Test error against bytes of the file for six methods, five seeds each. Dense stands alone at the right with about 70 kilobytes and two percent. All others lie near six kilobytes; DropBack, "
    "ESPN-Rewind, magnitude and SNIP have three to three and a half percent error, random masks twelve. An inset enlarges the four: the dots of their seeds mix.",
)

# %% tags=["headline"]
small = min((name for name in mean if name != "dense"), key=lambda name: mean[name]["test error (%)"])
before, after = (f"{mean[name]['file (bytes)']:,.0f} bytes at {mean[name]['test error (%)']:.1f} %" for name in ("dense", small))
winner = "espn-rewind" if small == "espn" else small
lesson.headline(f"From {before} test error to {after} ({winner}); five seeds, bundled digits, measured")

# %%
bytes_, error, energy = ({name: row[key] for name, row in mean.items()} for key in ("file (bytes)", *EXACT))
FOUR = ("dropback", "magnitude", "snip", "espn")
lesson.claim("dense file over the largest of the others", bytes_["dense"] / max(bytes_[name] for name in mean if name != "dense"), 9, 11)
lesson.claim("DropBack: points above dense", error["dropback"] - error["dense"], 0.4, 2)
lesson.claim("random: points above dense", error["random"] - error["dense"], 5, 15)
lesson.claim("random, times the error of the worst of the four", error["random"] / max(error[name] for name in FOUR), 2.5, 6)
lesson.claim("points between the best and the worst of the four", np.ptp([error[name] for name in FOUR]), 0, 1)
lesson.claim("dense over magnitude, estimated energy", energy["dense"] / energy["magnitude"], 8, 12)
assert mean["dropback"]["multiply-adds"] == mean["dense"]["multiply-adds"]

# %% [markdown]
# Read the table slowly; most of the book is in it.
#
# * All small files are about ten times smaller, since they hold the same number of values. *Which* values makes the difference in error.
# * DropBack saves bytes and energy but **no multiplications**: its other weights are there, made again each time. Pruned ones are gone.
# * Error and bytes are *measured*. Energy is *estimated*, from byte counts and a table of one chip process (chapter 08); it says nothing about the machine that ran this page.

# %% [markdown]
# ## How a method steps in
#
# A method is a handful of **hooks**, functions that the training loop calls at fixed places: at the start, on every weight before it is used, after every step, and in the end. These are
# those of the dense method, which do nothing; every other method overrides two or three.

# %%
lesson.show(Method.start, Method.transform, Method.after_step, Method.finish)

# %% [markdown]
# ## Break it on purpose
#
# Claim a mask without keeping it: write a model whose "pruned" weights are not at rest. The compressor would lose them, so it refuses:

# %%
data = ms.load("digits")
model = ms.build("mnist-100-100", data.input_shape, data.classes)
weight = model.parameters["fc1.weight"]
weight.keep(np.arange(weight.size).reshape(weight.shape) % 10 == 0)
weight.store.values += 0.01  # an optimiser that does not know about the mask
try:
    ms.compress(model)
    raise SystemError("nothing was noticed")
except ValueError as error:
    print(error)

# %% [markdown]
# ## The papers' figures beside ours
#
# Digits of 8 x 8 pixels are in none of the papers. On MNIST, the set of 70,000 digits that they use, these are two rows of the recorded runs of `docs/results`: method, network,
# and how many values (or which share of the weights) are kept. An *epoch* is one pass over the training images; *recalled* figures stand from memory.

# %%
lesson.papers(
    {
        "dropback/lenet-300-100/20000": "images shifted by up to a pixel; {epochs} epochs where the paper has 100",
        "snip/lenet-300-100/0.02": "images shifted by up to a pixel; {epochs} epochs where the paper has more than 250",
    }
)

# %% [markdown]
# ## What surprised us
#
# * **Places are cheap, values are not.** Of a file of 6 kB, most is the values themselves; saying where 1,500 of 17,610 stand takes one seventh of it.
# * **Four very different ideas end within a point of each other** at equal bytes, hardly more than the spread between seeds. Chapter 03 lowers the density until they part.
# * **Random belongs into every table.** A method is worth what it wins over chance: here, nearly three of four digits that a random choice of weights gets wrong.

# %%
trained = ms.build("mnist-100-100", data.input_shape, data.classes)
ms.fit(trained, data, ms.Magnitude(budget=BUDGET), ms.TrainSettings(epochs=30, batch=50))
ledger = ms.compress(trained).ledger()
places, everything = sum(row["mask_bytes"] or 0 for row in ledger), ms.compress(trained).file_bytes
print(f"{places} of {everything} bytes say where the kept values stand")
lesson.claim("share of the places in the file", places / everything, 0.1, 0.22)

# %% [markdown]
# ## Exercises
#
# **Exercise 0.1.** Write eq. 1 for an array: kept entries have their value, the others their rest.

# %% tags=["exercise"]
def laid_over(init, rho, index, values):
    """init (n,), places index (K,) and values (K,) of the kept entries -> the whole weight (n,)."""
    return ...


# %% tags=["check"]
@lesson.exercise("0.1")
def check():
    init, index, values = np.array([1.0, 2.0, 3.0]), np.array([2]), np.array([9.0])
    w = laid_over(init, 0.5, index, values)
    assert isinstance(w, np.ndarray), "return an array"
    assert w.tolist() == [0.5, 1.0, 9.0], "0.5 * init, and 9 at place 2"
    assert init.tolist() == [1.0, 2.0, 3.0], "the initial values must stay as they are"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def laid_over(init, rho, index, values):
#     w = rho * init
#     w[index] = values
#     return w
# ```
#
# </details>

# %% [markdown]
# **Exercise 0.2.** A plain sparse format stores each kept weight as a 4-byte value and a 4-byte index. Below which density is it smaller than 4 bytes for every weight? And if the place takes
# only 5 bits?

# %% tags=["exercise"]
with_indices, with_five_bits = ..., ...

# %% tags=["check"]
@lesson.exercise("0.2")
def check():
    assert isinstance(with_indices, float), "two numbers"
    assert with_indices == 0.5, "8 bytes against 4"
    assert abs(with_five_bits - 32 / 37) < 1e-9, "37 bits against 32"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# with_indices = 4 / 8
# with_five_bits = 32 / (32 + 5)
# ```
#
# "90 % sparse" in a format with 4-byte indices is five times smaller, not ten. Chapter 06 gets the places down to about five bits.
#
# </details>

# %% [markdown]
# **Exercise 0.3.** Write a method: after every step, keep the first `budget` entries of `fc1.weight` and set the others to zero. `run.keep(name, mask)` does the work; a bool array is a mask.

# %% tags=["exercise"]
class KeepFirst(Method):
    name = "keep-first"
    budget = 100

    def after_step(self, run):
        pass


# %% tags=["check"]
@lesson.exercise("0.3")
def check():
    data = ms.load("digits")
    model = ms.build("mnist-100-100", data.input_shape, data.classes)
    ms.fit(model, data, KeepFirst(), ms.TrainSettings(epochs=1))
    w = model.parameters["fc1.weight"]
    assert w.mask is not None, "no mask was set: override after_step"
    assert w.kept == 100 and w.mask.ravel()[:100].all(), f"{w.kept} entries are kept"
    assert (w.value().ravel()[100:] == 0).all()


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class KeepFirst(Method):
#     name = "keep-first"
#     budget = 100
#
#     def after_step(self, run):
#         w = run.model.parameters["fc1.weight"]
#         run.keep("fc1.weight", np.arange(w.size).reshape(w.shape) < self.budget)
# ```
#
# A terrible method, and a complete one: it trains, resumes after a crash, compresses and loads like the others.
#
# </details>
