# %% [markdown]
# # 03 · SNIP and ESPN: masks before training
#
# Which connections could a network do without, and can we tell before it has learned anything?
#
# *Papers: N. Lee, T. Ajanthan, P. Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", 2018,
# [arXiv 1810.02340](https://arxiv.org/abs/1810.02340); M. Cho, A. Joshi, C. Hegde, "ESPN: Extremely Sparse Pruned Networks", 2020,
# [arXiv 2006.15741](https://arxiv.org/abs/2006.15741).*

# %% [markdown]
# ## The question
#
# A network multiplies and adds its inputs with numbers, its **weights**. **Pruning** sets weights to zero for good. A zero needs no storage and no arithmetic. Classically one trains the whole network first,
# removes what turned out small, and repairs the damage. That pays for the large network before it gets the small one. SNIP asks for the small one at
# once: look at the *untrained* network and a single batch of examples, decide which **connections** (weights) matter, and never train the others.
#
# A **mask** says what stays: $c_j = 1$ keeps connection $j$, $c_j = 0$ removes it. With $P$ weights $w_1, \dots, w_P$ the network runs on the products
# $c_j w_j$. The **density** is the share of ones, $k/P$; at density 0.05, five weights of a hundred are left.

# %%
from dataclasses import replace

import numpy as np

import minisparse as ms
from minisparse import lesson, rng
from minisparse._core import topk
from minisparse.methods.base import Method

# %% [markdown]
# ## The equations of SNIP
#
# Let $L$ be the **loss**, one number that says how wrong the network is on a batch of examples. Removing connection $j$ moves $c_j$ from 1 to 0.
# Trying each would take $P$ forward passes. The derivative tells all of them at once, to first order: how fast does $L$ change when $c_j$ *begins* to
# leave 1? By the chain rule through the product $c_j w_j$,
#
# $$g_j = \left.\frac{\partial L(c \odot w)}{\partial c_j}\right|_{c=1} = w_j \frac{\partial L}{\partial w_j} \tag{1}$$
#
# ($\odot$ multiplies entry by entry). Whether $L$ would rise or fall does not matter, only that it *reacts*. So the **saliency** is the size of $g_j$,
# as a share of the whole,
#
# $$s_j = \frac{|g_j|}{\sum_k |g_k|} \tag{2}$$
#
# and the mask keeps the $k$ largest over all layers together, ties going to the lower index:
#
# $$c_j = 1 \text{ for the } k \text{ largest } s_j, \quad\text{else } 0. \tag{3}$$
#
# Eq. 1 is eq. (5) of the paper, eqs. 2 and 3 are its (6). One forward and one backward pass (the gradient of chapter 01), no schedule, nothing to tune but $k$.

# %% [markdown]
# ## By hand: three weights
#
# One neuron, $y = w_1 x_1 + w_2 x_2 + w_3 x_3$, one example with target $t$, and $L = \tfrac12 (y - t)^2$. Then $\partial L/\partial w_j = (y - t)\, x_j$.

# %%
w, x, t = np.array([1.0, 0.5, -2.0]), np.array([1.0, 3.0, 0.0]), 1.0


def loss(c):
    return 0.5 * ((c * w) @ x - t) ** 2


dw = (w @ x - t) * x
g = w * dw + 0.0  # eq. 1; + 0.0 makes 0 of -0
s = np.abs(g) / np.abs(g).sum()  # eq. 2
print("gradient dL/dw", dw)
print("g             ", g)
print("saliency s    ", s)
everything = np.ones(3)
for j in range(3):
    without, nudged = everything.copy(), everything.copy()
    without[j] = 0
    nudged[j] -= 1e-6
    slope = (loss(everything) - loss(nudged)) / 1e-6
    print(f"without weight {j + 1}: L goes {loss(everything):.3f} -> {loss(without):.3f};  slope at c = 1: {slope:.4f}")

assert np.allclose(s, [0.4, 0.6, 0.0])

# %% [markdown]
# The third weight is the largest of all, $|{-2}|$, and its saliency is zero: its input is dead. *Magnitude*, the classical criterion, would keep it first. That is
# the difference between the two in one line. The printed slopes agree with $g$; the true changes do not, since eq. 1 is only a tangent.

# %% [markdown]
# ## The library's code
#
# `sensitivity` is eqs. 1 and 2, summed over scoring batches; `masks` is eq. 3. (`values` is $w$ and `dw` its gradient, one array a layer.)

# %%
lesson.show(ms.SNIP.sensitivity, ms.SNIP.masks)

# %% [markdown]
# ## Look at the saliencies
#
# The network is 64-100-100-10 on the bundled digits: 64 pixels, two layers of 100 outputs, one output for each digit; 17,400 weights in three layers, `fc1` to `fc3`.
# Biases, the numbers that a layer adds, are always kept. We score it before training and draw how the
# saliencies are distributed, layer by layer, and where the cut for a density of 5 % falls.

# %%
DENSITY = 0.05
SETTINGS = ms.TrainSettings(epochs=30, batch=50, lr=0.1, momentum=0.9, weight_decay=5e-4, schedule="cosine")


def untrained(seed=0):
    data = ms.load("digits", seed=seed)
    return data, ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)


def scores_and_masks(method, seed=0):
    data, model = untrained(seed)
    run = ms.Run(model, data, method, replace(SETTINGS, seed=seed))
    weights = {name: p.store.values for name, p in method.candidates(model).items()}
    return ms.SNIP(density=DENSITY).sensitivity(run, weights), method.masks(run)


saliency, mask = scores_and_masks(ms.SNIP(density=DENSITY))
cut = min(s[m].min() for s, m in zip(saliency, mask, strict=True))
for name, s, m in zip(("fc1", "fc2", "fc3"), saliency, mask, strict=True):
    print(f"{name}: {m.sum():4} of {m.size:6,} kept ({m.mean():5.1%}), {np.count_nonzero(s == 0):5,} with saliency 0")

# %% tags=["thumbnail", "folded"]
strips = {
    "SNIP": mask,
    "SNIP, shuffled": mask,
    "magnitude at start": scores_and_masks(ms.MagnitudeAtStart(density=DENSITY, floor=1))[1],
    "random": scores_and_masks(ms.RandomPruning(density=DENSITY, floor=1))[1],
}
stream = rng.Stream(0, "shuffle")
strips["SNIP, shuffled"] = [m.ravel()[stream.permutation(m.size)].reshape(m.shape) for m in mask]
fig = lesson.panels(1, 1, height=5.0)[0]
fig.clear()
top, bottom = fig.subfigures(2, 1, height_ratios=[1.25, 1])
axes = top.subplots()
bins = np.geomspace(1e-9, 2e-3, 70)
for s, colour, name in zip(
    saliency, (lesson.SKY, lesson.ORANGE, lesson.RED), ("fc1, 6,400 weights", "fc2, 10,000", "fc3, 1,000"), strict=True
):
    share = np.full(s.size, 100 / s.size)
    axes.hist(
        np.maximum(s.ravel(), 1.2e-9), bins, weights=share, histtype="stepfilled", alpha=0.5, color=colour, label=name
    )
axes.axvline(cut, color="black", linewidth=1.5)
axes.annotate("the cut at 5 %:\nkept to the right", (cut * 1.15, axes.get_ylim()[1] * 0.93), va="top", fontsize=8.5)
axes.set(
    xscale="log",
    xlabel="saliency s (share of the whole; zeros at the left edge)",
    ylabel="weights of the layer (%)",
    title="Before training",
)
axes.legend(loc="upper left", bbox_to_anchor=(0.1, 1))
for column, (name, m) in zip(bottom.subplots(1, 4), strips.items(), strict=True):
    picture = column.imshow(m[0].sum(axis=0).reshape(8, 8), cmap="viridis", vmin=0, vmax=12)
    column.set_title(name, fontsize=9)
    column.set_xticks([]), column.set_yticks([])
    column.grid(False)
bottom.colorbar(picture, ax=bottom.axes, label="connections kept\nof each pixel", shrink=0.85)
lesson.figure(
    fig,
    "Above, a histogram of saliencies by layer on a logarithmic axis with the cut for five percent: the last layer lies mostly to the right, the "
    "first has a bar of exact zeros. Below, four 8 by 8 pictures of how many connections each pixel keeps: SNIP keeps those of the middle "
    "and none at the dead left and right edges, the shuffled mask, magnitude and random spread over all pixels alike.",
)

# %% [markdown]
# Two things happen without being asked for. Layers get very different densities: the last one, where each weight speaks for a class, keeps several times the
# share of the others. And the pixels that are black in every digit, all at the left and right edges, keep nothing: their $\partial L/\partial w$ is zero. The lower row
# of the figure shows the connections of each pixel under four masks of the same size; the next section says where the other three come from.

# %%
data, _ = untrained()
dead = (data.train.x == 0).all(axis=0).ravel()
lesson.claim("connections that SNIP keeps from pixels that are always black", mask[0][:, dead].sum(), 0, 0)
lesson.claim("density of the last layer over that of the first", mask[2].mean() / mask[0].mean(), 1.5, 4.5)

# %% [markdown]
# ## Is it the weights, or only how many in each layer?
#
# A mask could be good because it chose the right connections, or only because it gave each *layer* the right number. Two controls tell. **Shuffle** the
# mask inside each layer: the numbers stay, the choice goes. **Redraw** the values under the mask: the choice stays, the very values that it was computed
# from go. (Frankle et al., 2020, arXiv 2009.08576, made these tests.) Beside them stand random masks and the largest $|w|$ at the start.

# %% [markdown]
# ## ESPN: let the mask learn
#
# SNIP takes one derivative with respect to the mask and cuts. ESPN takes the mask seriously as a parameter: real numbers $m_j$, all 1 at first, trained beside the
# weights $w_j$, with a toll on each. (The numbers are those of the library's file on ESPN.)
#
# $$\hat w = m \odot w \tag{1}$$
#
# $$\min_{w, m} \; L(\hat w) + \alpha \sum_j |m_j| \tag{2}$$
#
# With $G = \partial L / \partial \hat w$, the ordinary gradient, the product rule gives both:
#
# $$\frac{\partial L}{\partial w} = G \odot m, \qquad \frac{\partial\,(L + \alpha \sum |m|)}{\partial m} = G \odot w + \alpha\, \mathrm{sign}(m) \tag{3}$$
#
# $\alpha$ (alpha) is the toll: every step it pulls each $|m_j|$ towards 0 by the same amount. A connection that the loss defends holds out; the others
# sink. As soon as no more than $k$ are left above a small $\varepsilon$ (epsilon), the $k$ largest are kept and the rest is cut:
#
# $$\text{the number of } j \text{ with } |m_j| > \varepsilon \;\text{ is at most } k \tag{4}$$
#
# $$c_j = 1 \text{ for the } k \text{ largest } |m_j|, \quad \text{else } 0 \tag{5}$$
#
# Then training goes on, either from the weights as they are (**ESPN-Finetune**) or from those at the beginning of the search (**ESPN-Rewind**).
#
# Look at eq. 3 of ESPN at $m = 1$: the data part of the gradient in $m$ is $G \odot w$, which is SNIP's eq. 1. ESPN's *first step* is SNIP; it then
# takes some hundred more.

# %%
lesson.show(ms.ESPN.transform, ms.ESPN.pullback, ms.ESPN.update_masks)

# %% [markdown]
# `transform` is what the network runs on, `pullback` carries the gradient back to what is trained. By hand, for one weight: $w = 2$, $m = 1$,
# $G = -0.1$, $\alpha = 0.3$, learning rate 0.5.

# %%
w1, m1, G, alpha, rate = 2.0, 1.0, -0.1, 0.3, 0.5
for step in range(4):
    w1, m1 = w1 - rate * G * m1, m1 - rate * (G * w1 + alpha * np.sign(m1))  # eq. 3, the same G each step
    print(f"step {step + 1}: w = {w1:.3f}, m = {m1:.3f}, m w = {m1 * w1:.3f}")
assert m1 < 1 and w1 > 2

# %% [markdown]
# The toll eats $m$ while the loss feeds $w$. Their product hardly moves at first. This *leak* is why the masks are watched and cut by count: the method never comes to
# rest by itself.

# %% [markdown]
# ## The experiment
#
# Seven methods, four densities, five seeds, 30 epochs each. A test error of 10 % means that 40 of the 400 held-out digits are taken for another; guessing gives 90 %.

# %%
SEEDS, DENSITIES = range(5), (0.2, 0.1, 0.05, 0.02)


def error(method, seed):
    data, model = untrained(seed)
    ms.fit(model, data, method, replace(SETTINGS, seed=seed))
    return ms.evaluate(model, data.test).error


def errors(make, densities=DENSITIES):
    """Test errors in percent, (seeds, densities)."""
    return np.array([[error(make(density), seed) for density in densities] for seed in SEEDS])


found = {
    "random": errors(lambda d: ms.RandomPruning(density=d, floor=1)),
    "magnitude at start": errors(lambda d: ms.MagnitudeAtStart(density=d, floor=1)),
    "snip": errors(lambda d: ms.SNIP(density=d)),
    "snip, shuffled": errors(lambda d: ms.SNIP(density=d, control="shuffle")),
    "snip, redrawn": errors(lambda d: ms.SNIP(density=d, control="redraw")),
    "espn": errors(lambda d: ms.ESPN(density=d, floor=1)),
    "espn-rewind": errors(lambda d: ms.ESPNRewind(density=d, floor=1)),
}
dense = np.array([error(Method(), seed) for seed in SEEDS])
lesson.table(
    [
        {"method": name, **{f"{d:.0%}": f"{e:.1f}" for d, e in zip(DENSITIES, many.mean(axis=0), strict=True)}}
        for name, many in found.items()
    ]
)

# %% tags=["folded"]
fig, axes = lesson.panels(height=3.9)
looks = {
    "random": (lesson.COLOURS["random"], "v"),
    "magnitude at start": (lesson.COLOURS["magnitude"], "D"),
    "snip, shuffled": ("#a86f00", "x"),
    "snip, redrawn": ("#f3c66b", "s"),
    "snip": (lesson.COLOURS["snip"], "o"),
    "espn": (lesson.COLOURS["espn"], "^"),
    "espn-rewind": ("#00543d", "P"),
}
for name, (colour, marker) in looks.items():
    lesson.band(axes, DENSITIES, found[name], colour, name, marker)
axes.axhline(
    dense.mean(), color=lesson.COLOURS["dense"], linewidth=1, linestyle="--", label=f"dense, {dense.mean():.1f} %"
)
axes.set(xscale="log", yscale="log", xlabel="density: share of the weights that is kept", ylabel="test error (%)")
axes.set_xticks(DENSITIES, [f"{d:.0%}" for d in DENSITIES])
axes.set_yticks([2, 5, 10, 20, 50, 90], ["2", "5", "10", "20", "50", "90"])
axes.minorticks_off()
axes.set_title("Five seeds: mean, least and largest")
axes.legend(ncols=2)
lesson.figure(
    fig,
    "Test error against density, both logarithmic, with five-seed bands. At 20 percent all methods lie near the dense line. At 5 percent random and "
    "magnitude at the start are above 40 percent error, the shuffled mask near 20, SNIP and the two ESPN variants between 3.5 and 5; at 2 percent only "
    "ESPN stays below 10.",
)

# %% tags=["headline"]
at = DENSITIES.index(0.05)
lesson.headline(
    f"One weight of twenty kept: random masks {found['random'][:, at].mean():.0f} % test error, SNIP {found['snip'][:, at].mean():.1f} %, "
    f"ESPN-Rewind {found['espn-rewind'][:, at].mean():.1f} %, dense {dense.mean():.1f} %; five seeds, bundled digits, measured"
)

# %%
mean = {name: many.mean(axis=0) for name, many in found.items()}
lesson.claim("SNIP at 20 %: points above dense", mean["snip"][0] - dense.mean(), 0, 2)
lesson.claim("SNIP at 5 % (%)", mean["snip"][at], 4, 6.5)
lesson.claim("random at 5 % (%)", mean["random"][at], 33, 52)
lesson.claim("shuffled at 5 %, times SNIP's error", mean["snip, shuffled"][at] / mean["snip"][at], 2, 6)
lesson.claim("redrawn at 5 %: points above SNIP", mean["snip, redrawn"][at] - mean["snip"][at], 0.3, 4)
lesson.claim("ESPN-Rewind at 5 %: points below SNIP", mean["snip"][at] - mean["espn-rewind"][at], 0.5, 3)
lesson.claim("ESPN-Rewind at 5 %: points below Finetune", mean["espn"][at] - mean["espn-rewind"][at], 0.1, 2)
lesson.claim("magnitude at start, 5 %: over random's error", mean["magnitude at start"][at] / mean["random"][at], 0.8, 1.4)
lesson.claim("SNIP at 2 % (%)", mean["snip"][3], 14, 25)
lesson.claim("ESPN at 2 % (%)", mean["espn"][3], 4, 7)

# %% [markdown]
# (*espn* is Finetune.) On this network the shuffled mask is *much* worse: it spends connections on black pixels. The published study, on convolutional networks whose inputs are never
# dead, found shuffling nearly harmless. Both are right; the control tells you which world you are in. Redrawing the values costs less.

# %% [markdown]
# ## The masks of ESPN, sinking
#
# Six looks at all 17,400 masks during one search at 5 %. They leave 1 together; the loss holds some of
# them back, and in the end most lie at 0 while a thin tail of defended ones reaches beyond 1.


# %% tags=["folded"]
class Looks(Method):
    """Copies of the masks in the course of the search."""

    def start(self, run):
        self.seen = []

    def after_step(self, run):
        masks = [p.notes["m"].ravel().copy() for p in run.model.parameters.values() if "m" in p.notes]
        if masks:
            self.seen.append(np.abs(np.concatenate(masks)))


data, model = untrained()
looks_at = Looks()
ms.fit(model, data, ms.Compose(ms.ESPN(density=DENSITY, floor=1), looks_at), SETTINGS)
seen = looks_at.seen
fig, axes = lesson.panels(1, 6, height=2.1, sharey=True)
for axis, share in zip(axes, (0, 0.2, 0.4, 0.6, 0.8, 1), strict=True):
    step = round(share * (len(seen) - 1))
    axis.hist(seen[step], np.linspace(0, 1.6, 33), color=lesson.COLOURS["espn"])
    axis.set_title(f"step {step + 1}\n{np.mean(seen[step] > 0.01):.0%} left", fontsize=8.5)
    axis.set(yscale="log", xlabel="|m|")
axes[0].set_ylabel("masks")
lesson.figure(
    fig,
    "Film strip of six histograms of the absolute masks. First all 17,400 stand at one; then the hill drifts to the left and widens; at the end nearly all "
    "lie in the first bar at zero while a tail of some hundred reaches up to one and a half.",
)

# %% [markdown]
# ## Break it on purpose
#
# Leave the factor $w_j$ out of SNIP's eq. 1 and score with $|\partial L/\partial w_j|$ alone. It looks harmless: a gradient *is* a sensitivity. But it asks what would happen
# if the weight *grew*, not if the connection *went*.


# %%
class GradientAlone(ms.SNIP):
    """SNIP with a mistake: the weight is missing from eq. 1."""

    name = "wrong-snip"

    def sensitivity(self, run, at, w=None, first=0):
        return super().sensitivity(run, at, {name: np.ones_like(values) for name, values in at.items()}, first)


wrong = errors(lambda d: GradientAlone(density=d), (0.05, 0.02)).mean(axis=0)
scored = {"SNIP": mean["snip"][2:], "without the weight": wrong}
lesson.table([{"test error (%) at": name, "5%": f"{five:.1f}", "2%": f"{two:.1f}"} for name, (five, two) in scored.items()])
lesson.claim("without the weight, 2 %: points lost", wrong[1] - mean["snip"][3], 15, 40)

# %% [markdown]
# And go too far: let magnitude choose, at lower and lower densities, until some layer loses its last connection. Then no signal passes and every
# gradient is zero for ever. The library refuses to train such a network, and says what to do:

# %%
for density in (0.02, 0.01, 0.005):
    data, model = untrained()
    try:
        ms.fit(model, data, ms.MagnitudeAtStart(density=density), replace(SETTINGS, epochs=1))
        print(density, "still connected")
    except ValueError as error_:
        print(density, error_)

# %% [markdown]
# ## The papers' figures beside ours

#
# MNIST, 784-300-100-10; a row's name ends in the density, `plain` rows are trained on the images as they are, all others on images shifted at random by up to one pixel.

# %%
lesson.papers(
    {
        "snip/lenet-300-100/0.05": "shifted images; {epochs} epochs where the paper trains for more than 250 (100,000 steps and more)",
        "snip/lenet-300-100/0.02": "as above",
        "snip/lenet-300-100/0.02/plain": "the same without shifts",
        "espn/lenet-300-100/0.05": "the paper's tables were not at hand as text: nothing is quoted",
        "espn/lenet-300-100/0.02": "as above",
        "espn/lenet-300-100/0.01": "as above",
    }
)

# %% [markdown]
# Everything on this page is *measured*; nothing is simulated. Errors of 400 digits come in steps of 0.25 points.

# %% [markdown]
# ## What surprised us
#
# * **One backward pass is worth a great deal.** At 5 %, it takes a random mask's error from two digits in five to one in twenty.
# * **How the data are scaled decides the mask.** With inputs in [0, 1], black pixels have saliency 0. Standardise the inputs and the same pixels become
#   constants, with a gradient, and get connections.
# * **Finetune against Rewind.** Going back to the early weights, which throws away what the search has learned, gives the better network here.
# * **Magnitude at the start is no better than chance** at low densities: before training, $|w|$ knows nothing about the data.

# %% [markdown]
# ## Exercises
#
# **Exercise 3.1.** Write eqs. 1 to 3 for a list of weight arrays and their gradients: a *global* cut with exactly $k$ ones.


# %% tags=["exercise"]
def snip_masks(weights, gradients, k):
    """A list of bool arrays shaped like the weights."""
    return ...


# %% tags=["check"]
@lesson.exercise("3.1")
def check():
    weights = [np.array([[1.0, -4.0], [0.0, 2.0]]), np.array([3.0, -1.0])]
    gradients = [np.array([[2.0, 0.25], [9.0, 1.0]]), np.array([-1.0, 2.0])]
    masks = snip_masks(weights, gradients, 3)
    assert isinstance(masks, list), "return a list of masks"
    assert [m.shape for m in masks] == [(2, 2), (2,)], "one mask a weight, of its shape"
    assert [m.tolist() for m in masks] == [[[True, False], [False, True]], [True, False]], (
        "scores 2, 1, 0, 2 and 3, 2: three of the 2s tie"
    )


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def snip_masks(weights, gradients, k):
#     scores = np.concatenate([np.abs(w * g).ravel() for w, g in zip(weights, gradients)])
#     keep = np.zeros(len(scores), bool)
#     keep[np.argsort(-scores, kind="stable")[:k]] = True
#     borders = np.cumsum([w.size for w in weights])[:-1]
#     return [part.reshape(w.shape) for part, w in zip(np.split(keep, borders), weights)]
# ```
#
# Comparing with a threshold, `scores >= scores_sorted[k]`, keeps four here: all the tied ones. The library selects by index: `topk.topk(scores, k)`.
#
# </details>

# %% [markdown]
# **Exercise 3.2.** A ReLU passes positive numbers on and turns the rest to 0, so multiplying all weights *into* a hidden unit by 10 and all weights *out of* it by
# 1/10 leaves the network's outputs as they were. Do this to unit 0 of the network below. Does its SNIP mask change? Does the mask of the largest $|w|$?


# %% tags=["exercise"]
def rescaled(w1, w2):
    """New (w1, w2): weights (100, 64) into the hidden layer and (100, 100) out of it, with unit 0 rescaled."""
    return w1, w2


# %% tags=["check"]
@lesson.exercise("3.2")
def check():
    data, model = untrained()
    run = ms.Run(model, data, ms.SNIP(density=0.05), SETTINGS)
    w = {name: p.store.values.astype(np.float64) for name, p in run.method.candidates(model).items()}
    new = dict(zip(w, (*rescaled(w["fc1.weight"], w["fc2.weight"]), w["fc3.weight"]), strict=True))
    assert not np.allclose(new["fc1.weight"], w["fc1.weight"]), "nothing was rescaled"
    assert np.allclose(new["fc1.weight"][0], 10 * w["fc1.weight"][0]), "row 0 of w1 holds the weights into unit 0"
    before, after = (topk.topk(run.method.sensitivity(run, weights), 870) for weights in (w, new))
    assert all((a == b).all() for a, b in zip(before, after, strict=True)), "SNIP's mask should not change"
    magnitudes = [topk.topk([np.abs(a) for a in weights.values()], 870) for weights in (w, new)]
    assert any((a != b).any() for a, b in zip(*magnitudes, strict=True)), "that of |w| should"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def rescaled(w1, w2):
#     w1, w2 = w1.copy(), w2.copy()
#     w1[0] *= 10
#     w2[:, 0] /= 10
#     return w1, w2
# ```
#
# $w_j\,\partial L/\partial w_j$ is unchanged: the weight grows tenfold, its gradient shrinks tenfold. So SNIP's answer does not depend on how a network
# happens to share scale between its layers. Magnitude's does.
#
# </details>

# %% [markdown]
# **Exercise 3.3.** Where the loss does not care, momentum $\beta$ multiplies the toll's pull by $1/(1-\beta)$. After how many steps has such a mask sunk from 1 to 0? Use
# learning rate 0.05, $\beta = 0.9$, $\alpha = 8 \cdot 10^{-5}$, the authors' values. How many epochs are that with 235 steps each?

# %% tags=["exercise"]
steps, epochs = ..., ...


# %% tags=["check"]
@lesson.exercise("3.3")
def check():
    assert isinstance(steps, float | int), "give two numbers"
    assert abs(steps - 25_000) < 300, "each step moves m by rate * alpha / (1 - beta)"
    assert 105 < epochs < 108, "divide by 235"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# steps = (1 - 0.9) / (0.05 * 8e-5)
# epochs = steps / 235
# ```
#
# 106 epochs of search. With fewer, the target cannot be reached at this $\alpha$; the library therefore computes $\alpha$ from the steps that you
# give it (`ESPN.penalty_weight`).
#
# </details>
