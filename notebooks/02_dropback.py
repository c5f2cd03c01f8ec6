# %% [markdown]
# # 02 · DropBack: training on a weight budget
#
# Can a network be trained while only a fixed, small number of its weights is ever stored?
#
# *Paper: M. Golub, G. Lemieux, M. Lis, "Full Deep Neural Network Training on a Pruned Weight Budget", 2018,
# [arXiv 1806.06949](https://arxiv.org/abs/1806.06949). You need: NumPy and the idea of a gradient. Chapter 01 derives
# the gradients of a network by hand; here they are simply given.*

# %% [markdown]
# ## The question
#
# A network is a list of numbers $w_0, w_1, \dots, w_{P-1}$, its **weights**, and a recipe that turns a picture into an answer
# by multiplying and adding them. $P$ counts them: 17,610 for the small network of this chapter, billions elsewhere. **Training**
# starts from random values and goes in **steps**: each looks at a few examples, a **batch**, and moves every weight a little, so
# that the network makes fewer mistakes. When it is over, all $P$ numbers have to be stored somewhere.
#
# But most weights hardly move. And their starting values were made by a **pseudo-random generator**: a function that turns a
# seed and an index into a number that looks random. Call it with the same seed and index tomorrow and it gives the same number.
# So a weight that has not moved does not need storing. It can be *made again* whenever it is needed.
#
# DropBack turns this into a rule: choose a **budget** $K$, much smaller than $P$. At any time only $K$ weights, those that have
# moved furthest, are stored. Every other weight *is* its starting value.

# %%
from itertools import pairwise

import numpy as np

import minisparse as ms
from minisparse import lesson
from minisparse._core import rng, topk
from minisparse.methods import dropback
from minisparse.methods.base import Method

# %% [markdown]
# ## The algorithm in four lines
#
# Write $w_i(0)$ for the starting value of weight $i$, and $w_i$ for its value now. One step of training goes like this.
#
# **1. Try the usual step for everybody.** The **loss** $L$ is one number that says how wrong the network is on the batch.
# Its **gradient** $g_i = \partial L / \partial w_i$ says how fast $L$ changes when $w_i$ grows. The **learning rate** $\eta$ (eta), say
# 0.4, says how far to go downhill. The weight would become
#
# $$u_i = w_i - \eta\, g_i \tag{1}$$
#
# **2. Score.** How far from its starting value would each weight be?
#
# $$s_i = |u_i - w_i(0)| \tag{2}$$
#
# **3. Choose.** $T$, the **tracked set**, holds the indices of the $K$ largest scores. (A network keeps its weights in several arrays, a
# few for each of its *layers*; the choice is made over all of them together.) Where scores tie, the lower index wins, so that the
# choice never depends on luck:
#
# $$T = \{\text{the } K \text{ indices with the largest } s_i\} \tag{3}$$
#
# **4. Keep or drop back.** Weights in $T$ take their new value, all others go back to where they started:
#
# $$w_i \leftarrow \begin{cases} u_i & i \in T \\ w_i(0) & \text{otherwise} \end{cases} \tag{4}$$
#
# That is all. A weight outside $T$ loses what it learned in this step, and an index in $T$ remembers everything. (The numbers (1) to (4)
# are those of the library's file; the paper states the same in words and pseudo-code.)

# %% [markdown]
# ## By hand: six weights, room for two
#
# Six weights with starting values $w(0)$, and a gradient that we simply make up. $\eta = 0.5$, $K = 2$.

# %%
w0 = np.array([0.25, -0.75, 0.125, 0.5, -0.25, 0.375])
g = np.array([0.25, -0.125, 1.0, 0.0, -0.5, 0.5])
eta, K = 0.5, 2

u = w0 - eta * g  # eq. 1; in the first step everybody starts from w(0)
s = np.abs(u - w0)  # eq. 2
T = np.zeros(6, bool)
T[np.argsort(-s, kind="stable")[:K]] = True  # eq. 3, "stable" = ties to the lower index
w = np.where(T, u, w0)  # eq. 4

for name, values in {"w(0)": w0, "g": g, "u": u, "s": s, "in T": T, "w": w}.items():
    print(f"{name:>5}", *(f"{value!s:>7}" if values.dtype == bool else f"{value:7.3f}" for value in values))

# %% [markdown]
# Indices 4 and 5 tie at a distance of 0.250 behind index 2 (0.500). There is room for one of them: the lower index, 4. Index 5 drops back
# to 0.375, its starting value.
#
# Note what eq. 2 means. Let $g_i(t)$ be the gradient of weight $i$ in step $t$. A weight that has always been tracked has moved by
# $-\eta\,(g_i(1) + g_i(2) + \dots)$: its score is its **accumulated gradient**. A weight that is not tracked starts again from $w(0)$ each step: to get in, it must beat an incumbent with a
# *single* step. Here is the second step, with a new gradient:

# %%
assert T.nonzero()[0].tolist() == [2, 4]
g = np.array([1.0, 0.0, -0.75, 0.125, 0.125, 0.75])
u = w - eta * g
s = np.abs(u - w0)
T = np.zeros(6, bool)
T[np.argsort(-s, kind="stable")[:K]] = True
w = np.where(T, u, w0)
for name, values in {"u": u, "s": s, "in T": T, "w": w}.items():
    print(f"{name:>5}", *(f"{value!s:>7}" if values.dtype == bool else f"{value:7.3f}" for value in values))

assert T.nonzero()[0].tolist() == [0, 5]
assert w[2] == w0[2]

# %% [markdown]
# Index 2 led after the first step. Then its gradient changed sign, its distance shrank to 0.125, and it lost its place: back to
# its starting value exactly, as if nothing had happened. That is *dropping back*.

# %% [markdown]
# ## Values that need no memory
#
# Eq. 4 needs $w_i(0)$ for any $i$, at any time. Ordinary random generators hand out numbers one after the other; to get the
# millionth you draw a million. A **hash** can be asked for any index alone. It scrambles the bits of the index and of a *key*, a number
# that is made from the seed. Below, the key is 42, and 0.1 is the standard deviation of the starting values:

# %%
some = np.array([5, 999_999_999, 0, 5])
print(rng.normal_at(42, some, 0.1))  # indices in any order, also twice
print(rng.normal(42, 0, 6, 0.1))  # a whole range: indices 0 to 5
assert rng.normal_at(42, some, 0.1)[0] == rng.normal(42, 0, 6, 0.1)[5]

# %% [markdown]
# The library's own scrambler, in NumPy (the compiled one gives the same bits):

# %%
from minisparse._core import rng_ref

lesson.show(rng_ref._mix, rng_ref._to_normal)

# %% [markdown]
# Three multiplications and a handful of shifts. Why not something simpler? The layers multiply vectors by matrices of such numbers, and
# matrices notice patterns that the eye does not. Exercise 2.3 lets you see one.

# %% [markdown]
# ## The library's code beside the equations
#
# A *method* in this library is a class with **hooks**: functions that the training loop calls at fixed places. Eq. 1 is the ordinary step
# of the *optimiser*, the part that moves weights. When it is done, the loop calls the hook `after_step`, and there eqs. 2 to 4 are a
# handful of lines. (`p` is one array of weights, and `p.store.values` are its numbers, $u$ at this moment; `p.rest()` is $w(0)$.)

# %%
lesson.show(dropback._keep_dense)

# %% [markdown]
# A **mask** is an array of True and False, True where an index is in $T$. `choice.masks` is eq. 3: an exact selection over several arrays,
# ties to the lower index. `p.keep` is eq. 4: what is off the mask goes back to its starting value. Here are the scores of our six weights
# after the first step, laid out as two arrays, through the library's selection:

# %%
scores = [np.array([0.125, 0.0625, 0.5]), np.array([0.0, 0.25, 0.25])]
masks = topk.topk(scores, 2)
print("in T:", *(mask.tolist() for mask in masks))
assert [mask.tolist() for mask in masks] == [[False, False, True], [False, True, False]]

# %% [markdown]
# ## The experiment: real digits
#
# 1,797 handwritten digits of 8 x 8 pixels come with the library (`ms.load("mnist")` takes the place of `"digits"` where you have the larger set).
# The network is the paper's for MNIST, the usual set of 70,000 larger digits: 64 pixels go in, two layers compute 100 numbers each, the last
# one 10, one for each class. Written 64-100-100-10, it has $64 \cdot 100 + 100 \cdot 100 + 100 \cdot 10 = 17{,}400$ factors and 210
# **biases**, numbers that are added; biases compete for the budget like any weight, so $P = 17{,}610$. A network whose weights are all
# stored is called **dense**.
#
# One **epoch** is one pass over the 1,197 training digits: 23 steps, with batches of 50. We train for 30 epochs at $\eta = 0.4$; after epochs 24
# and 28 the rate is divided by ten. The **test error** is the percentage of 400 digits, never used in training, that the network
# gets wrong; one digit is 0.25 points. Five **seeds** mean five runs that differ in starting values, in the order of the examples and in which
# 200 digits are set aside for choosing settings: a difference smaller than the spread between seeds is no difference.

# %%
EPOCHS, SEEDS = 30, range(5)
BUDGETS = (5_000, 1_500, 500)


class Watch(Method):
    """Looks on: the distance from the start, and which weights are tracked, after every step."""

    def start(self, run):
        self.distance, self.tracked = [], []

    def after_step(self, run):
        moved = [p.value() - p.initial() for p in run.model.parameters.values()]
        self.distance.append(np.sqrt(sum(float(np.square(m).sum()) for m in moved)))
        if run.model.kept < run.model.size:
            self.tracked.append(np.concatenate([p.mask.ravel() for p in run.model.parameters.values()]))


def train(method, seed, **changes):
    """A trained network, its test error in percent, and what Watch saw."""
    data, watch = ms.load("digits", seed=seed), Watch()
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    settings = ms.TrainSettings(**{"epochs": EPOCHS, "seed": seed, **ms.DropBack.recipe, **changes})
    ms.fit(model, data, ms.Compose(method, watch), settings)
    return model, ms.evaluate(model, data.test).error, watch


runs = {"dense": [train(ms.Method(), seed) for seed in SEEDS]}
runs |= {budget: [train(ms.DropBack(budget=budget), seed) for seed in SEEDS] for budget in BUDGETS}
errors = {name: np.array([error for _, error, _ in many]) for name, many in runs.items()}
lesson.table(
    [
        {
            "stored": f"{many[0][0].kept:,}",
            "of 17,610": f"{many[0][0].kept / 17_610:.1%}",
            "test error, mean (%)": errors[name].mean(),
            "least": errors[name].min(),
            "largest": errors[name].max(),
        }
        for name, many in runs.items()
    ]
)

# %% tags=["headline"]
dense, small = errors["dense"], errors[1_500]
ours, theirs = (f"{e.mean():.2f} % ({e.min():.2f} to {e.max():.2f})" for e in (small, dense))
lesson.headline(
    f"1,500 of 17,610 values stored: test error {ours}, where the dense network has {theirs}; "
    "five seeds, bundled digits, measured"
)

# %% [markdown]
# A twelfth of the weights costs about one point, less than a third of them next to nothing. The prose of this chapter is held to its numbers: if a
# change to the library moved them, the next cell would fail.

# %%
lesson.claim("mean test error, dense (%)", errors["dense"].mean(), 1.0, 3.0)
lesson.claim("5,000 stored: points above dense", errors[5_000].mean() - dense.mean(), -0.5, 0.9)
lesson.claim("1,500 stored: points above dense", small.mean() - dense.mean(), 0.4, 2.0)
lesson.claim("500 stored: points above dense", errors[500].mean() - dense.mean(), 1.5, 4.5)
for budget in BUDGETS:
    assert all(model.kept == budget for model, _, _ in runs[budget])  # the budget is met exactly

# %% [markdown]
# And "the others never moved" is no figure of speech. It holds to the last bit:

# %%
model = runs[1_500][0][0]
for name, p in model.parameters.items():
    assert (p.value() == p.initial())[~p.mask].all()
    print(f"{name:11} {p.kept:5,} of {p.size:6,} stored ({p.kept / p.size:6.1%})")

# %% [markdown]
# Nobody told the rule about layers. It spends most freely on the last one, where every weight is a direct vote for or against a class, and least on
# the wide layer in the middle.

# %% [markdown]
# ## Diffusion: does the budget change how training moves?
#
# Think of all the weights as one point in a space of 17,610 dimensions. Training walks away from the start, fast at first and then
# ever more slowly: it *diffuses*. With $w(t)$ for all weights after $t$ steps, the distance from the start,
#
# $$d(t) = |w(t) - w(0)| = \sqrt{\textstyle\sum_i (w_i(t) - w_i(0))^2}, \tag{5}$$
#
# is drawn on logarithmic axes, where such a slowing walk is nearly a straight line. The paper's observation is that DropBack's line stays beside
# the dense one: it drops *many* weights and yet little *movement*, since the few that move most carry nearly all of it. Ours does so for most of the
# way. Once the dense network makes no more mistakes on its training digits it stops; the small budgets go on, and end a little farther out.

# %% tags=["thumbnail", "folded"]
shades = {"dense": lesson.COLOURS["dense"], 5_000: "#003f66", 1_500: lesson.COLOURS["dropback"], 500: lesson.SKY}
fig, (left, right) = lesson.panels(1, 2)
steps = np.arange(1, len(runs["dense"][0][2].distance) + 1)
for name, many in runs.items():
    label = "dense, 17,610" if name == "dense" else f"{name:,} stored"
    lesson.band(left, steps, [watch.distance for _, _, watch in many], shades[name], label)
left.set(
    xscale="log",
    yscale="log",
    xlabel="steps of training",
    ylabel="distance from the start, eq. 5",
    title="Diffusion",
)
left.legend()
for budget in BUDGETS:
    entered = [[np.count_nonzero(b & ~a) / budget for a, b in pairwise(w.tracked)] for *_, w in runs[budget]]
    blocks = np.array(entered)[:, : len(steps) // 23 * 23 - 23].reshape(len(SEEDS), -1, 23).mean(axis=2)
    lesson.band(right, np.arange(1, blocks.shape[1] + 1), 100 * blocks, shades[budget], f"{budget:,} stored")
right.set_yscale("symlog", linthresh=0.1)  # linear below 0.1, so that 0 has a place
right.set_yticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
right.set(
    xlabel="epochs of training",
    ylabel="newcomers a step (% of the budget)",
    title="Churn of the tracked set",
)
right.legend(loc="lower left")
lesson.figure(
    fig,
    "Two panels. Left, diffusion: distance from the start against steps, both logarithmic; the lines of 5,000 and 1,500 stored "
    "values run beside the dense line and end slightly above it; 500 stored starts lower and ends highest. Right, churn: newcomers a step in percent of the budget fall from "
    "seven percent in the first epoch to about one percent, and to nearly nothing when the learning rate drops after epoch 24.",
)

# %%
distance = {name: np.mean([watch.distance[-1] for _, _, watch in many]) for name, many in runs.items()}
lesson.claim("final distance, 1,500 stored over dense", distance[1_500] / distance["dense"], 1.0, 1.35)
lesson.claim("final distance, 5,000 stored over dense", distance[5_000] / distance["dense"], 0.9, 1.15)


def newcomers(first, last):
    """Mean number of a step, over seeds and over the steps from `first` to `last`, 1,500 stored."""
    sets = [w.tracked[first - 1 : last] for *_, w in runs[1_500]]
    return np.mean([[np.count_nonzero(b & ~a) for a, b in pairwise(s)] for s in sets])


lesson.claim("newcomers a step in the first epoch, of 1,500", newcomers(1, 24), 90, 130)
lesson.claim("newcomers a step in epoch 20, of 1,500", newcomers(438, 460), 8, 40)
lesson.claim("newcomers a step in the last epoch, of 1,500", newcomers(667, 690), 0, 0.5)

# %% [markdown]
# *Churn*, at the right, counts the newcomers of each step: indices that were not in $T$ before it. In the first epoch the tracked set is a revolving door: seven of a hundred places change
# hands at every step. It slows down to one or two of a hundred, and stops when the learning rate drops, after epoch 24. The paper sees the set settle
# within the first iterations; at our constant, high rate it keeps trading its least members to the end. Those hardly matter: the choice can be
# **frozen** early (`freeze=0.3` stops it at 30 % of training), and from then on gradients are needed for the $K$ stored weights alone.

# %%
frozen = np.array([train(ms.DropBack(budget=1_500, freeze=0.3), seed)[1] for seed in SEEDS])
lesson.claim("freezing at 30 %: points lost", frozen.mean() - small.mean(), -0.6, 0.9)

# %% [markdown]
# ## Break it on purpose
#
# Is it important that an untracked weight sits at its *starting value*? It would be simpler to set it to zero, as **pruning** does, the usual way to
# make networks small. `decay_steps=1` does just that from the first step on. And is *distance* the right score? Magnitude, $|u_i|$, is what most
# pruning methods look at. Two mistakes, one cell:


# %%
class RankByMagnitude(ms.DropBack):
    """DropBack with a mistake: it scores |u| where eq. 2 has |u - w(0)|."""

    name = "wrong-dropback"

    def after_step(self, run):
        everything = run.model.parameters.values()
        chosen = topk.topk([np.abs(p.store.values) for p in everything], self.places(run.model))
        for p, mask in zip(everything, chosen, strict=True):
            p.keep(mask, frozen=False)


broken = {
    "as it should be": errors[1_500],
    "others at zero from step 1": np.array(
        [train(ms.DropBack(budget=1_500, decay=0.5, decay_steps=1), s)[1] for s in SEEDS]
    ),
    "ranked by magnitude": np.array([train(RankByMagnitude(budget=1_500), s)[1] for s in SEEDS]),
}
lesson.table(
    [
        {"1,500 stored": name, "mean error (%)": e.mean(), "least": e.min(), "largest": e.max()}
        for name, e in broken.items()
    ]
)

# %%
zeros, magnitude = (broken[name].mean() - small.mean() for name in ("others at zero from step 1", "ranked by magnitude"))
lesson.claim("zeros in place of starting values: points lost", zeros, 0.5, 2.5)
lesson.claim("magnitude in place of distance: points lost", magnitude, 2, 7)
assert magnitude > zeros

# %% [markdown]
# The untracked weights are *scaffolding*: random, but not useless. They carry the signal through the network while the tracked ones learn to correct
# it. Magnitude is the worse mistake: the largest starting values are then "tracked" for being large, not for having learned.

# %% [markdown]
# ## Never held at all
#
# So far the library held all weights in memory while training and only *promised* that most could be made again. With `store="regenerated"` it keeps the
# promise: a layer multiplies a matrix $W$ of weights by the batch $x$, and inside this product starting values are made a few rows (a *tile*) at a time and
# forgotten again. In NumPy, which says what the compiled code must compute:

# %%
from minisparse._core import regen_ref

lesson.show(regen_ref.matmul)

# %%
held = {}
for store in ("auto", "regenerated"):
    data = ms.load("digits")
    network = ms.build("mnist-100-100", data.input_shape, data.classes, width=8)
    ms.fit(network, data, ms.DropBack(budget=5_000), ms.TrainSettings(epochs=2, store=store, **ms.DropBack.recipe))
    held[store] = sum(network.memory().values())
    print(f"store={store!r:14} {network.size:,} weights, {network.kept:,} stored, {held[store]:9,} bytes in memory")

lesson.claim("memory of the dense store over the regenerated one", held["auto"] / held["regenerated"], 20, 200)

# %% [markdown]
# (A network eight times as wide as before; `"auto"` holds everything.) This memory is *measured*: the bytes of the arrays for weights, places and gradient. The
# paper also counts energy: to fetch a 32-bit number from memory outside the chip costs 640 pJ (picojoules, $10^{-12}$ J), to make it again with the paper's
# generator 1.5 pJ. Those figures are *estimated*, from a table of one chip process; chapter 08 is about such estimates.

# %% [markdown]
# ## The paper's figure beside ours
#
# The MNIST runs take minutes, so they are made elsewhere (`minisparse reproduce dropback`) and quoted here. The network is 784-300-100-10 with 266,610
# values, of which the last part of a row's name says how many are stored. Rows that end in `plain` are trained on the images as they are, the others
# on images that are shifted at random by up to one pixel, which is worth more than the method costs. *Recalled* figures of the paper stand from memory.

# %%
lesson.papers(
    {
        "dense/lenet-300-100/266610/plain": "{epochs} epochs where the paper has 100",
        "dropback/lenet-300-100/50000": "shifted images; {epochs} epochs where the paper has 100",
        "dropback/lenet-300-100/20000": "the same; exact selection (eq. 3) where the paper's code takes a threshold",
        "dropback/lenet-300-100/20000/plain": "the same without shifts",
        "dropback/lenet-300-100/1500": "{epochs} epochs, no shifts: at this budget every epoch counts",
    }
)

# %% [markdown]
# ## What surprised us
#
# * **Plain steps suit it.** *Momentum*, steps that go on in the direction of earlier ones, helps almost everywhere; here it makes the score something other
#   than the accumulated gradient, and the recipe has none.
# * **Newcomers cannot enter late.** When the learning rate drops by ten, one step of an outsider shrinks by ten, while incumbents keep their
#   distance. The door closes by itself: look at epoch 24 of the churn.
# * **Fewer weights walk farther.** A small budget ends farther from the start than the dense network: each stored weight does the work of several.
# * **The obvious generator is a trap.** A textbook generator, xorshift, applied to `seed + index`, looks random and is not: see exercise 2.3.

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the check. Solutions are folded below each.
#
# **Exercise 2.1.** Write one step of DropBack for a single array: eqs. 1 to 4, ties to the lower index.


# %% tags=["exercise"]
def dropback_step(w, w0, g, eta, k):
    """The new w (n,) after one step with a budget of k."""
    return ...


# %% tags=["check"]
@lesson.exercise("2.1")
def check():
    w0, g = np.array([0.25, -0.75, 0.125, 0.5]), np.array([0.25, -0.125, 0.75, 0.75])
    new = dropback_step(w0, w0, g, 0.5, 1)
    assert isinstance(new, np.ndarray), "return an array"
    assert np.allclose(new, [0.25, -0.75, -0.25, 0.5]), f"indices 2 and 3 tie; the lower one stays. Yours: {new}"
    assert (dropback_step(w0, w0, g, 0.5, 0) == w0).all(), "a budget of 0 changes nothing"
    assert np.allclose(dropback_step(w0, w0, g, 0.5, 4), w0 - 0.5 * g), (
        "a budget of all weights is plain gradient descent"
    )


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def dropback_step(w, w0, g, eta, k):
#     u = w - eta * g
#     tracked = np.argsort(-np.abs(u - w0), kind="stable")[:k]
#     new = w0.copy()
#     new[tracked] = u[tracked]
#     return new
# ```
#
# `kind="stable"` leaves equal scores in the order of their indices; without it, ties fall as the sorting algorithm likes.
#
# </details>

# %% [markdown]
# **Exercise 2.2.** A weight that has been tracked for $t$ steps with the constant gradient $g = 0.01$ stands at distance $\eta\, t\, g$. An outsider has gradient
# $G$ this step. With $\eta = 0.4$ in both cases, from which $|G|$ on does the outsider take the place after $t = 200$ steps? And if the learning rate then drops
# to $0.04$?

# %% tags=["exercise"]
needed_before, needed_after = ..., ...


# %% tags=["check"]
@lesson.exercise("2.2")
def check():
    assert isinstance(needed_before, float | int), "give two numbers"
    assert abs(needed_before - 2.0) < 1e-9, "with equal rates eta cancels: t g"
    assert abs(needed_after - 20.0) < 0.2, "the incumbent keeps its distance; the outsider's step is ten times shorter"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# needed_before = 200 * 0.01
# needed_after = 0.4 * 200 * 0.01 / 0.04
# ```
#
# This is why the tracked set settles at the first drop of the learning rate, whatever the budget.
#
# </details>

# %% [markdown]
# **Exercise 2.3.** Here is xorshift32, applied once to `seed + index`. A matrix of shape (300, 784) whose entries are independent, with mean 0 and variance 1,
# makes no vector longer by more than a factor of about $\sqrt{300} + \sqrt{784} \approx 45$. How much does this one stretch? The largest factor of a
# matrix, its largest *singular value*, is `np.linalg.norm(matrix, 2)`: compute it for both, brought to the shape (300, 784).


# %% tags=["exercise"]
def xorshift32(x):
    x = x ^ (x << np.uint32(13))
    x = x ^ (x >> np.uint32(17))
    return x ^ (x << np.uint32(5))


words = xorshift32(np.arange(1, 300 * 784 + 1, dtype=np.uint32))
bad = ((words >> np.uint32(8)).astype(float) * 2.0**-24 - 0.5) * np.sqrt(12)
good = rng.normal(0, 0, 300 * 784, 1.0).astype(float)

stretch_bad, stretch_good = ..., ...


# %% tags=["check"]
@lesson.exercise("2.3")
def check():
    assert isinstance(stretch_bad, float), "two numbers, please"
    assert stretch_good < 48, "the hash should stay near 45: did you reshape to (300, 784)?"
    assert stretch_bad > 4 * stretch_good, "the shifted one should be several times worse"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# stretch_bad = float(np.linalg.norm(bad.reshape(300, 784), 2))
# stretch_good = float(np.linalg.norm(good.reshape(300, 784), 2))
# print(stretch_bad, stretch_good)
# ```
#
# Every number of the bad matrix looks random on its own; rows next to each other are nearly alike. All units of a layer would start as near
# copies of one another.
#
# </details>
