# %% [markdown]
# # 04 · Soft weight sharing
#
# Can a network be taught to *want* few different weights, so that pruning and rounding it afterwards costs nothing?
#
# *Papers: S. Nowlan, G. Hinton, "Simplifying neural networks by soft weight-sharing", 1992; K. Ullrich, E. Meeds, M. Welling, 2017,
# [arXiv 1702.04008](https://arxiv.org/abs/1702.04008).*

# %% [markdown]
# ## The question
#
# A trained network is a long list of numbers, its **weights**. To make its file small one wants many of them to be zero (**pruning**) and the others to take few different values (**sharing**). Chapter 06 first trains, then clusters the
# weights, and hopes. Soft weight sharing turns the order round. It asks what it would *cost to send* the weights to somebody who knows roughly how they are distributed, and makes
# this cost part of the **loss**, the number that training makes small. Sending a number that lies where many others lie is cheap. So weights move together, by themselves, into a few clusters, most into one at zero.
#
# ## The equations
#
# A **Gaussian** with mean $\mu$ (mu) and standard deviation $\sigma$ (sigma) is the bell curve $N(w \mid \mu, \sigma^2)$; its **precision** is $\beta = 1/\sigma^2$ (beta). A **mixture** adds several, its *components* $j = 0, 1, \dots, J$, each with a
# mean, a precision and a share $\pi_j$ (pi) of the weights $w_i$. The cost of a weight is $-\log$ of how likely the mixture finds it, and the usual loss of training, $L_E$, gets all these costs $C$ with a price $\tau$ (tau), divided by the number
# $N$ of training samples (a plain $N$ here, the bell with its arguments in eq. 2):
#
# $$L = L_E + \frac{\tau}{N}\, C \tag{1}$$
#
# $$C = -\sum_i \log \sum_j \pi_j\, N(w_i \mid \mu_j, 1/\beta_j) \;+\; \text{hyper-priors} \tag{2}$$
#
# (The *hyper-priors* are further costs, on precisions and on $\pi_0$, that keep them from running away: eqs. 3 and 4 of the library's file, whose numbers are used here.) Component 0 sits at $\mu_0 = 0$ with most of the weights, $\pi_0 = 0.99$, so that zero is a cheap place to be. Everything else is
# learned *together with the weights*: means, precisions and the other shares. Let $r_{ij}$ be the **responsibility** of component $j$ for weight $i$, its part of the sum in eq. 2. Then
#
# $$\frac{\partial C}{\partial w_i} = \sum_j r_{ij}\,\beta_j\,(w_i - \mu_j), \qquad \frac{\partial C}{\partial \mu_j} = -\sum_i r_{ij}\,\beta_j\,(w_i - \mu_j) \tag{6}$$
#
# Read it as springs: every weight is tied to every mean, the more strongly the more the mean is responsible for it, and the means are pulled in return. (Precisions and shares have gradients of the same kind, eqs. 7 to 9 of the file.) In the end each weight is set to the mean of its most likely component $k$:
#
# $$w_i \leftarrow \mu_k, \qquad k = \text{argmax}_j \; \log \pi_j + \tfrac12 \log \beta_j - \tfrac12 \beta_j (w_i - \mu_j)^2 \tag{12}$$

# %%
import base64
import io

import numpy as np

import minisparse as ms
from minisparse import lesson
from minisparse._core import mixture_ref
from minisparse.methods import soft_weight_sharing as sharing
from minisparse.methods.base import Method
from minisparse.methods.soft_weight_sharing import Mixture, SoftWeightSharing, moving_mixture

# %% [markdown]
# ## By hand: four weights, two components
#
# One component at 0 and one at 1, both with $\sigma = 0.25$ ($\beta = 16$) and equal shares.

# %%
w = np.array([-0.1, 0.2, 0.5, 0.9])
mu, beta, pi = np.array([0.0, 1.0]), np.array([16.0, 16.0]), np.array([0.5, 0.5])
density = pi * np.sqrt(beta / (2 * np.pi)) * np.exp(-beta / 2 * (w[:, None] - mu) ** 2)
r = density / density.sum(axis=1, keepdims=True)
pull = (r * beta * (w[:, None] - mu)).sum(axis=1)  # eq. 6
for values in zip(w, r[:, 0], r[:, 1], pull, strict=True):
    print("w = {:5.2f}: responsible {:.3f} and {:.3f}, dC/dw = {:6.2f}".format(*values))

cost, gradient, _ = mixture_ref.prior(w, mu, np.log(beta), np.log(pi))
assert np.allclose(gradient, pull) and np.isclose(cost, -np.log(density.sum(axis=1)).sum())

# %% [markdown]
# The weight at 0.5 is torn between both and does not move at all; the others are pulled to the nearer mean. (The assertion compares with the library.) The library's code: `prior` is eq. 2 and the left half of eq. 6, which has the number 4 in its own file; $\gamma$ (gamma) is $\log \beta$, `d` is
# $w_i - \mu_j$. `gradient` holds the right half of eq. 6 and its like for precisions and shares:

# %%
lesson.show(mixture_ref.prior, SoftWeightSharing.gradient)

# %% [markdown]
# ## The experiment
#
# Train as usual for a fifth of the run, then on under the mixture, or **prior**, with 16 components beside the one at zero. The network is 64-100-100-10 on the bundled digits: 17,610 values, 17,400 of them weights under the prior and 210 biases (added constants) that are stored as they are. Five
# seeds, 150 passes over the training digits (*epochs*); errors are percentages of 400 test digits.

# %%
SEEDS, EPOCHS = range(5), 150
SETTINGS = {"begin": 0.2, "tau": 0.03, "components": 16, "reach": 0.8, "sigma": 0.15}
SETTINGS |= {"mean_rate": 3e-3, "gamma_rate": 2e-2, "zero_b": 0.5, "other_b": 0.02}
METHOD = SoftWeightSharing(**SETTINGS, record=20)


def train(method, seed, watch=None):
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    settings = ms.TrainSettings(epochs=EPOCHS, batch=50, optimizer="adam", lr=5e-3, seed=seed)
    ms.fit(model, data, method if watch is None else ms.Compose(watch, method), settings)
    return model, data, ms.evaluate(model, data.test).error


class BeforeTheCut(Method):
    """The network as it is behind the last step, just before eq. 12."""

    def after_step(self, run):
        if run.step == run.total_steps:
            self.error = ms.evaluate(run.model, run.data.test).error


runs = []
for seed in SEEDS:
    watch = BeforeTheCut()
    runs.append((*train(METHOD, seed, watch), watch.error))
dense = np.array([train(Method(), seed)[2] for seed in SEEDS])
rows = []
for model, _, error, before in runs:
    weights = [p for p in model.parameters.values() if p.role == "weight"]
    values = np.unique(np.concatenate([p.value()[p.mask] for p in weights]))
    row = {"kept of 17,400": sum(p.kept for p in weights), "different values": len(values)}
    rows.append({**row, "error before eq. 12 (%)": before, "after (%)": error, "file (bytes)": ms.compress(model).file_bytes})
lesson.table([{"seed": seed, **row} for seed, row in zip(SEEDS, rows, strict=True)])
after, size = np.array([row["after (%)"] for row in rows]), np.array([row["file (bytes)"] for row in rows])
print(f"dense: {dense.mean():.2f} % ({dense.min():.2f} to {dense.max():.2f})")

# %% tags=["headline"]
lesson.headline(
    f"Weights that gather by themselves: {70_440 / size.mean():.0f} times smaller ({size.mean():,.0f} bytes) at {after.mean():.1f} % test error ({after.min():.1f} to {after.max():.1f}), dense {dense.mean():.1f} %; "
    "five seeds, bundled digits, measured"
)

# %%
# bands: seeds 0 to 9 gave an error of 3.2 (standard deviation 0.7) and 2,437 bytes (75), 1.1 points above dense (0.8);
# seeds 0 to 4 lost 0.25 points by eq. 12 (0.3) and kept 9 % of the weights (0.3); a mean of five strays less than half as far
lesson.claim("test error (%)", after.mean(), 2.3, 4.1)
lesson.claim("points above dense", after.mean() - dense.mean(), 0.1, 2.1)
lesson.claim("times smaller than float32", 70_440 / size.mean(), 27, 31)
lesson.claim("points that eq. 12 costs", np.mean([row["after (%)"] - row["error before eq. 12 (%)"] for row in rows]), -0.25, 0.8)
lesson.claim("share of the weights that is kept", np.mean([row["kept of 17,400"] for row in rows]) / 17_400, 0.08, 0.1)
lesson.claim("different values, at most", max(row["different values"] for row in rows), 8, 16)

# %% [markdown]
# ## The mixture, moving
#
# The library recorded the mixture every 20 steps. Six looks at one run: the components as curves, that at zero in black, their heights on a logarithmic axis. Below them, what became of each weight; then the same as a film.

# %% tags=["thumbnail", "folded"]
film = moving_mixture(runs[0][0])
across = np.linspace(-1.2, 1.2, 800)


def curves(frame):
    """Density of each component, (J + 1, len(across))."""
    mean, sigma, share = (film[name][frame][:, None] for name in ("mean", "sigma", "share"))
    return share / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((across - mean) / sigma) ** 2)


fig, axes = lesson.panels(1, 6, height=2.3, width=9.0, sharey=True, sharex=True)
for axis, share in zip(axes, (0, 0.1, 0.25, 0.5, 0.75, 1), strict=True):
    frame = round(share * (len(film["steps"]) - 1))
    for curve in curves(frame)[1:]:
        axis.plot(across, curve, color=lesson.COLOURS["soft-weight-sharing"], linewidth=0.9)
    axis.plot(across, curves(frame)[0], color="black", linewidth=1.2)
    axis.set(yscale="log", ylim=(1e-4, 300), xlabel="weight", title=f"step {film['steps'][frame]:,}")
axes[0].set_ylabel("density")
lesson.figure(
    fig,
    "Film strip of six looks at the mixture. At first sixteen wide bells stand evenly beside a wide one at zero; they narrow from look to look, and in the end a sharp peak at zero stands among a few narrow bells.",
)

# %% tags=["folded"]
fig, axes = lesson.panels(height=3.4)
before, end = film["before"], film["after"]
axes.plot(before, end, ".", markersize=2, color=lesson.COLOURS["soft-weight-sharing"], alpha=0.5)
axes.plot([-1, 1], [-1, 1], color="black", linewidth=0.8, linestyle=":", label="unchanged")
axes.set(xlabel="weight before the prior", ylabel="weight in the end", title="17,400 weights: where each came from, where it went", xlim=(-1.2, 1.2), ylim=(-1.3, 1.3))
axes.legend()
lesson.figure(fig, "Scatter of each weight in the end against its value before the prior: points lie on a few horizontal lines, most of them on the one at zero, the others farther out than where they began.")

# %% [markdown]
# Weights near zero were drawn into it, the others pushed apart: the network makes up with fewer, larger weights for those it lost. And the film (an animated picture: everything is inside the page):

# %% tags=["folded"]
import matplotlib.pyplot as plt
from IPython.display import HTML, display
from PIL import Image

fig, axis = lesson.panels(height=2.8, width=7.0)
lines = axis.plot(across, curves(0)[1:].T, color=lesson.COLOURS["soft-weight-sharing"], linewidth=1)
lines = [*axis.plot(across, curves(0)[0], color="black", linewidth=1.2, zorder=3), *lines]
axis.set(yscale="log", ylim=(1e-4, 300), xlabel="weight", ylabel="density")
frames = []
for frame in np.unique(np.geomspace(1, len(film["steps"]), 24).round().astype(int)) - 1:
    for line, curve in zip(lines, curves(frame), strict=True):
        line.set_ydata(curve)
    axis.set_title(f"step {film['steps'][frame]:,}")
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=80)
    frames.append(Image.open(out).convert("P", palette=Image.Palette.ADAPTIVE, colors=16))
plt.close(fig)
movie = io.BytesIO()
frames[0].save(movie, format="gif", save_all=True, append_images=frames[1:], duration=[150] * (len(frames) - 1) + [2_500], loop=0)
picture = base64.b64encode(movie.getvalue()).decode()
alt = "Animation of the mixture: sixteen wide bells and one at zero narrow step by step into a few sharp peaks."
display(HTML(f'<img alt="{alt}" src="data:image/gif;base64,{picture}">'))

# %% [markdown]
# ## Break it on purpose
#
# Give the component at zero no special share: $\pi_0$ starts like any other and is learned. And: set the weights to the means *at once*, before the components have narrowed (the prior rules for the last 3 % of the run only). The first takes as long as a proper run and is tried with one seed, the second with three.

# %%
EVEN = SoftWeightSharing(**SETTINGS | {"zero_share": 1 / 17, "learn_share": True})
HASTY = SoftWeightSharing(**SETTINGS | {"begin": 0.97})
broken = {}
ways = {"as it should be": [run[:3] for run in runs]}
for name, method, seeds in (("no favour for zero", EVEN, range(1)), ("cut too soon", HASTY, range(3))):
    ways[name] = [train(method, seed) for seed in seeds]
for name, many in ways.items():
    kept, size = ([count(model) for model, *_ in many] for count in (lambda m: m.kept, lambda m: ms.compress(m).file_bytes))
    broken[name] = {"test error (%)": np.mean([error for *_, error in many]), "kept of 17,610": round(np.mean(kept)), "file (bytes)": round(np.mean(size))}
lesson.table([{"way": name, **row} for name, row in broken.items()])

# %%
right, even, hasty = broken.values()
assert all(model.kept == 17_610 for model, *_ in ways["no favour for zero"])  # nothing at all is pruned
nearest = []
for model, *_ in ways["no favour for zero"]:
    level, count = np.unique(np.concatenate([p.value().ravel() for p in model.parameters.values() if p.role == "weight"]), return_counts=True)
    nearest.append((abs(level[count.argmax()]), count.max() / 17_400))
# bands: without favour, seeds 0 to 4 put 70 to 72 % of the weights on one value, 0.0005 to 0.0024 off zero;
# errors after a hasty cut were 84 to 91 %
lesson.claim("no favour for zero: the commonest value is off zero by at most", max(size for size, _ in nearest), 0, 0.02)
lesson.claim("no favour for zero: share of the weights that take it", np.mean([share for _, share in nearest]), 0.6, 0.8)
lesson.claim("no favour for zero: times the bytes", even["file (bytes)"] / right["file (bytes)"], 1.4, 1.8)
lesson.claim("no favour for zero: points above the proper run", even["test error (%)"] - right["test error (%)"], -1.5, 0.3)
lesson.claim("cut too soon: test error (%)", hasty["test error (%)"], 80, 92)

# %% [markdown]
# Without favour *all* 17,610 values are kept, and that is no slip of the count: another component, which may move, settles a hair beside zero and takes over most weights. They share one value, so the file is still small; but the value is not zero, and nothing is pruned. The error
# is no higher for it: seven of ten weights share the one value, where nine of ten are zero in a proper run. What the favour buys is bytes, and arithmetic that need not be done.

# %% [markdown]
# ## The paper's figure beside ours
#
# On MNIST, where it keeps 4.3 % of the weights, the paper's network is 784-300-100-10. Our recorded runs of it, and this page's small one:

# %%
lesson.papers(
    {
        "soft_weight_sharing/lenet-300-100": "images shifted by up to a pixel; {epochs} epochs; shared values trained on; bytes of a whole file",
        "soft_weight_sharing/lenet-300-100/plain": "the same without shifts",
    }
)
small = {"paper": "1.94 %, 64x (MNIST)", "ours": f"{after.mean():.2f} %, {70_440 / right['file (bytes)']:.0f}x"}
lesson.table([{"row": "this page, 8 x 8 digits", **small, "why they differ": "a network of a fifteenth the size: header and 210 whole biases weigh more"}])

# %% [markdown]
# Errors and bytes are *measured*; nothing is simulated.

# %% [markdown]
# ## What surprised us
#
# * **The cut is an anticlimax, if one waits.** By then the weights stand close to the means: eq. 12 moves the error by a digit or two of 400, down as well as up.
# * **Haste is punished like nowhere else.** As long as the bells are wide, "most likely component" says little about where a weight is.
# * **One objective prunes and shares.** Zero is a level like any other; it just has the largest share, and has to be given it.

# %% [markdown]
# ## Exercises
#
# **Exercise 4.1.** Write the responsibilities $r_{ij}$ of a mixture.

# %% tags=["exercise"]
def responsibilities(w, mu, beta, pi):
    """w (n,), mu, beta, pi (J,) -> r (n, J), rows that sum to 1."""
    return ...


# %% tags=["check"]
@lesson.exercise("4.1")
def check():
    got = responsibilities(w, mu, beta, pi)
    assert isinstance(got, np.ndarray) and got.shape == (4, 2), "an array (n, J)"
    assert np.allclose(got, r), "share times density, divided by the sum over the components"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def responsibilities(w, mu, beta, pi):
#     joint = pi * np.sqrt(beta) * np.exp(-beta / 2 * (w[:, None] - mu) ** 2)
#     return joint / joint.sum(axis=1, keepdims=True)
# ```
#
# </details>

# %% [markdown]
# **Exercise 4.2.** Near zero the component there has $\pi_0 = 0.99$, $\sigma_0 = 0.01$; another has $\pi = 0.01$, $\mu = 0.1$, $\sigma = 0.02$. At which $w$ between them does eq. 12 switch from one to the other?

# %% tags=["exercise"]
border = ...

# %% tags=["check"]
@lesson.exercise("4.2")
def check():
    assert isinstance(border, float), "a number"
    pair = Mixture(np.array([0, 0.1]), -2 * np.log([0.01, 0.02]), np.array([0.99, 0.01]))
    below, above = sharing.assign(np.array([border - 5e-4, border + 5e-4]), pair)
    assert (below, above) == (0, 1), "both sides of your border go to the same component"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# line = np.linspace(0, 0.1, 100_001)
# first = np.log(0.99 / 0.01) - line**2 / (2 * 0.01**2)
# second = np.log(0.01 / 0.02) - (line - 0.1) ** 2 / (2 * 0.02**2)
# border = float(line[np.argmax(second > first)])
# ```
#
# Nearer to the small component than half way: a large share reaches far.
#
# </details>

# %% [markdown]
# **Exercise 4.3.** What does one weight cost in *bits* if it is sent as the number of its component, with shares 0.95 and five times 0.01?

# %% tags=["exercise"]
bits_a_weight = ...

# %% tags=["check"]
@lesson.exercise("4.3")
def check():
    assert isinstance(bits_a_weight, float), "a number"
    shares = np.array([0.95, *[0.01] * 5])
    assert abs(bits_a_weight + (shares * np.log2(shares)).sum()) < 1e-6, "the entropy: minus the mean of log2 of the share"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# shares = np.array([0.95, *[0.01] * 5])
# bits_a_weight = float(-(shares * np.log2(shares)).sum())
# ```
#
# 0.4 bits instead of 32, places included: that is where factors of 64 come from.
#
# </details>
