# %% [markdown]
# # 05 · Straight-through quantisation and quantised sparse training
#
# How can a network learn weights that may take only a few values, when a step function has no useful derivative?
#
# *Papers: Y. Bengio, N. Léonard, A. Courville, 2013, [arXiv 1308.3432](https://arxiv.org/abs/1308.3432); S. Esser et al., "Learned Step Size Quantization", 2020,
# [arXiv 1902.08153](https://arxiv.org/abs/1902.08153); J.-H. Park, K.-M. Kim, S. Lee, "Quantized Sparse Training", ACM TECS 21(5), 2022 (of the last, only the abstract was at hand).*

# %% [markdown]
# ## The question
#
# A network is a list of numbers, its **weights**. A weight stored in $b$ **bits** can take $2^b$ values. With $b = 2$ a file is sixteen times smaller than with 32-bit floats before anything else is done. Rounding a trained network's weights works down to four or
# five bits, then breaks. To go lower, training must *know* about the rounding. But rounding is a staircase: flat nearly everywhere, and its derivative is zero. Gradient descent on a staircase does not move.
#
# ## The trick
#
# Keep two copies of each weight. Training moves a precise one, $w$, the **latent** weight. The network runs on the rounded one, $\hat w$. Its values, the **levels**, are the multiples of a **step** $s$ from $-Q_n s$ to $Q_p s$; *clip* holds a number between two bounds:
#
# $$\hat w = s \cdot \mathrm{round}\big(\mathrm{clip}(w/s,\, -Q_n,\, Q_p)\big), \qquad Q_n = 2^{b-1},\; Q_p = 2^{b-1} - 1 \tag{1}$$
#
# With $L$ for the **loss**, the number that training makes small, the network's gradient $g = \partial L/\partial \hat w$ is honest. To carry it back to $w$, *pretend that the staircase is a ramp*:
#
# $$\frac{\partial L}{\partial w} := \begin{cases} g & -Q_n < w/s < Q_p\\ 0 & \text{otherwise}\end{cases} \tag{2}$$
#
# This is the **straight-through estimator**. It is not a derivative of anything. It works because many small pushes in one direction add up in $w$ until it crosses a border, and then $\hat w$ jumps.
#
# How wide should a step be? **LSQ** (learned step size quantisation) learns it too. Keeping eq. 2's pretence that rounding has slope 1, the derivative of eq. 1 in $s$, summed over the weights $i$ that share the step, is
#
# $$\frac{\partial L}{\partial s} = \sum_i g_i\, e_i, \qquad e_i = \begin{cases}\mathrm{round}(w_i/s) - w_i/s & \text{inside the bounds}\\ -Q_n \text{ or } Q_p & \text{beyond}\end{cases} \tag{3}$$

# %%
import numpy as np

import minisparse as ms
from minisparse import lesson, quantisers, rng
from minisparse._core import joint, joint_ref
from minisparse.methods.base import Method
from minisparse.methods.lsq import LSQ
from minisparse.methods.quantised_sparse import QuantisedSparse
from minisparse.methods.uniform import Uniform

# %% [markdown]
# ## By hand: five weights, two bits
#
# $s = 0.5$; two bits are the levels $-2, -1, 0, 1$ times $s$.

# %%
w = np.array([-1.3, -0.6, 0.1, 0.3, 0.9])
g = np.array([0.2, -0.4, 1.0, 0.5, -0.3])
rounded = quantisers.quantise(w, 0.5, bits=2)
dw, ds = quantisers.quantise_backward(g, w, 0.5, bits=2)
for name, values in {"w": w, "w / s": w / 0.5, "rounded": rounded, "g": g, "eq. 2": dw}.items():
    print(f"{name:>8}", *(f"{value:6.2f}" for value in values))
print(f"   eq. 3  {ds:.2f} = 0.2 (-2) - 0.4 (-1 + 1.2) + 1.0 (0 - 0.2) + 0.5 (1 - 0.6) - 0.3 (1)")
assert rounded.tolist() == [-1.0, -0.5, 0.0, 0.5, 0.5] and dw.tolist() == [0.0, -0.4, 1.0, 0.5, 0.0]
assert np.isclose(ds, 0.2 * -2 - 0.4 * 0.2 - 0.2 + 0.5 * 0.4 - 0.3)

# %% [markdown]
# The first and last weight are beyond the levels: they get no gradient, but the *step* does. It is told to grow where that helps.
#
# The library's method. `transform_weight` is what the network runs on, `pull_weight_back` carries the gradient back. (`parts` are the weights that share a step, here a layer's. A step collects the gradients of all of them; `gradient_scale`, one over the root of their number times $Q_p$, slows it to the pace of one weight.)

# %%
lesson.show(LSQ.transform_weight, LSQ.pull_weight_back)

# %% tags=["folded", "thumbnail"]
across = np.linspace(-1.6, 1.1, 600)
fig, axes = lesson.panels(1, 2, height=3.0)
for axis, (title, forward, backward) in zip(
    axes,
    (
        ("LSQ, 2 bits", quantisers.quantise(across, 0.5, 2), quantisers.quantise_backward(np.ones(600), across, 0.5, 2)[0]),
        ("quantised sparse, 2 magnitudes, mask at 0.3", joint.quantise(across, np.abs(across) > 0.3, 0.5, 2), np.ones(600)),
    ),
    strict=True,
):
    axis.plot(across, across, color=lesson.GREY, linewidth=1, linestyle=":", label="no rounding")
    axis.plot(across, forward, color=lesson.SKY, label="what the network runs on")
    axis.plot(across, backward, color=lesson.RED, linestyle="--", label="slope that is pretended")
    axis.set(xlabel="latent weight w", ylabel="value, slope", title=title)
    axis.set_ylim(-1.75, 1.35)
axes[0].legend(fontsize=7.5, loc="lower right")
lesson.figure(
    fig,
    "Two staircases against the latent weight. Left, four levels with steps of one half; the pretended slope is one between the bounds and zero beyond. Right, a staircase with a wide flat zone at "
    "zero where the mask removes weights; the pretended slope is one everywhere, also in the zone.",
)

# %% [markdown]
# ## The experiment: fewer and fewer bits
#
# The network is 64-100-100-10 (64 pixels, two layers of 100 outputs, one output a digit) on the bundled digits, 30 passes over the training digits (*epochs*), five seeds; errors are percentages of 400 test digits. Three ways: round the trained network (no retraining), train through the rounding over the range of the weights
# (*uniform*), and train the step as well (*LSQ*).

# %%
SEEDS, BITS = range(5), (5, 4, 3, 2, 1)
SETTINGS = {"epochs": 30, "batch": 50, "lr": 0.1, "momentum": 0.9}


def train(method, seed, **changes):
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    ms.fit(model, data, method, ms.TrainSettings(**{**SETTINGS, "seed": seed, **changes}))
    return model, data, ms.evaluate(model, data.test).error


def rounded_after(model, data, bits):
    """Test error when each trained weight is rounded to the nearest of 2^b - 1 levels over its layer's range."""
    copy = ms.CompressedModel(ms.compress(model).to_bytes()).model()
    for p in copy.parameters.values():
        if p.role == "weight":
            p.store.values[...] = Uniform(bits=bits).quantise(p.value())
    return ms.evaluate(copy, data.test).error


dense = [train(Method(), seed) for seed in SEEDS]
found = {
    "rounded afterwards": np.array([[rounded_after(model, data, bits) for bits in BITS] for model, data, _ in dense]),
    "uniform, trained": np.array([[train(Uniform(bits=bits), seed)[2] for bits in BITS] for seed in SEEDS]),
    "LSQ": np.array([[train(LSQ(bits=bits, begin=0.3), seed)[2] for bits in BITS] for seed in SEEDS]),
}
base = np.mean([error for *_, error in dense])
mean = {name: dict(zip(BITS, many.mean(axis=0), strict=True)) for name, many in found.items()}
lesson.table([{"test error (%), bits": name, **{str(b): f"{e:.1f}" for b, e in row.items()}} for name, row in mean.items()])

# %% tags=["folded"]
fig, axes = lesson.panels(height=3.3)
for (name, many), (colour, marker) in zip(found.items(), ((lesson.GREY, "v"), (lesson.ORANGE, "s"), (lesson.SKY, "o")), strict=True):
    lesson.band(axes, BITS, many, colour, name, marker)
axes.axhline(base, color="black", linewidth=1, linestyle="--", label=f"32 bits, {base:.1f} %")
axes.set(yscale="log", xlabel="bits a weight", ylabel="test error (%)", title="Five seeds: mean, least and largest")
axes.set_yticks([2, 5, 10, 20, 50, 90], ["2", "5", "10", "20", "50", "90"])
axes.set_xticks(BITS)
axes.minorticks_off()
axes.invert_xaxis()
axes.legend()
lesson.figure(
    fig,
    "Test error against bits a weight, from five down to one, with five-seed bands. Rounding afterwards follows the dense line down to four bits and then rises steeply to tens of percent. LSQ stays flat; uniform fails at two bits; at one bit both "
    "are lower again.",
)

# %%
# bands: seeds 0 to 9 gave, mean (standard deviation): 0.1 (0.3) and 0.1 (0.4) points above 32 bits when rounded to 5 and 4,
# 2.3 (1.5) at 3, 64 % (10) at 2; uniform 90 % (3) at 2 and 0.1 points (0.5) at 1; LSQ -0.1 (0.4) at 2, -0.3 (0.3) at 3
after = mean["rounded afterwards"]
lesson.claim("rounded afterwards, 4 bits: points above 32", after[4] - base, -0.7, 0.8)
lesson.claim("rounded afterwards, 3 bits: points above 32", after[3] - base, 0.7, 4.5)
lesson.claim("rounded afterwards, 2 bits (%)", after[2], 50, 80)
lesson.claim("uniform, 2 bits (%)", mean["uniform, trained"][2], 80, 92)
lesson.claim("uniform, 1 bit: points above 32", mean["uniform, trained"][1] - base, -0.7, 1)
lesson.claim("LSQ, 3 bits: points above 32", mean["LSQ"][3] - base, -0.8, 0.3)
lesson.claim("LSQ, 2 bits: points above 32", mean["LSQ"][2] - base, -0.7, 0.6)

# %% [markdown]
# Rounding works down to four bits, begins to hurt at three and destroys the network at two; LSQ loses nothing that can be seen. How much of that is the training, and how much only a better step? Round the trained networks once more, to eq. 1 at two bits, each layer with the
# step of least squared error:

# %%
def rounded_well(model, data, bits):
    copy = ms.CompressedModel(ms.compress(model).to_bytes()).model()
    for p in copy.parameters.values():
        if p.role == "weight":
            w = p.value()
            steps = np.linspace(0.02, 1, 50) * np.abs(w).max()
            trials = (quantisers.quantise(w, float(step), bits) for step in steps)
            p.store.values[...] = min(trials, key=lambda trial: np.square(trial - w).sum())
    return ms.evaluate(copy, data.test).error


well = np.array([rounded_well(model, data, 2) for model, data, _ in dense])
# bands: seeds 0 to 9 gave 8 % (standard deviation 3)
lesson.claim("rounded afterwards, 2 bits, best step (%)", well.mean(), 5, 13)

# %% [markdown]
# The step is most of it: from two digits of three wrong to one of eleven. Training wins the rest.

# %% [markdown]
# ## Latent weights, crossing
#
# What do the two copies do? Here are some latent weights of the first layer under LSQ at 2 bits, and the borders where the rounded one jumps. They drift, hover at a border, cross. The borders move as well, since $s$ is learned.

# %% tags=["folded"]
class Follow(Method):
    """Latent weights and the step of the first layer, after every step."""

    def start(self, run):
        self.latent, self.step = [], []

    def after_step(self, run):
        p = run.model.parameters["fc1.weight"]
        if "step" in p.notes:
            self.latent.append(p.store.values.ravel()[ROWS].copy())
            self.step.append(float(p.notes["step"][0]))


ROWS = 20 + 64 * np.arange(12)  # pixel 20, into 12 hidden units
follow = Follow()
train(ms.Compose(LSQ(bits=2, begin=0.0), follow), 0, epochs=10)
latent, step = np.array(follow.latent), np.array(follow.step)
crossings = np.count_nonzero(np.diff(np.clip(np.rint(latent / step[:, None]), -2, 1), axis=0), axis=0)
fig, axes = lesson.panels(height=3.0)
axes.plot(latent, linewidth=0.9, color=lesson.SKY)
for k in (-1.5, -0.5, 0.5):
    axes.plot(k * step, color=lesson.RED, linewidth=1.2, label="borders between levels" if k == 0.5 else None)
axes.set(xlabel="steps of training", ylabel="latent weight", title="Twelve weights of the first layer and the borders of their levels")
axes.set_ylim(-0.5, 0.55)
axes.legend(loc="upper left")
lesson.figure(
    fig,
    "Twelve latent weights as thin lines over training steps and three thicker, slowly moving borders. Weights drift slowly; some cross a border once or a few times, some hover at one.",
)
print("crossings of each:", crossings)

# %% [markdown]
# ## Few levels and few weights at once
#
# **Quantised sparse training** learns the mask, the values and the step in one run. The **mask** $m_i$ is 1 for the $K$ weights of the largest *latent* magnitude and 0 for the others; kept weights are rounded to one of $Q$ **magnitudes** with a sign, $\pm s, \pm 2s, \dots, \pm Q s$, and zero belongs to
# the mask alone. With the numbers of the library's file,
#
# $$\hat w = \mathrm{sign}(w)\; s\, k\, m, \qquad k = \mathrm{clip}\big(\mathrm{round}(|w|/s),\, 1,\, Q\big) \tag{1}$$
#
# $$K = n\,\big(\rho + (1 - \rho)\,(1 - v)^3\big) \tag{5}$$
#
# where $K$ falls from all $n$ weights to the share $\rho$ (rho) while the progress $v$ goes from 0 to 1: pruning is gradual. Pruned weights keep their gradient (as in eq. 2 above, without its bounds), so that they can come back. The paper's body was not at hand; the library's equations are a reconstruction,
# and say so.

# %%
lesson.show(QuantisedSparse.count, joint_ref.quantise)

# %%
def sparse_run(method, seed, **changes):
    model, _, error = train(method, seed, **changes)
    return error, ms.compress(model).file_bytes


ways = {
    "32 bits, all weights": (Method(), lesson.COLOURS["dense"], "o"),
    "LSQ, 2 bits, all weights": (LSQ(bits=2, begin=0.3), lesson.ORANGE, "s"),
    "10 % of the weights, 32 bits": (ms.Magnitude(density=0.1), lesson.COLOURS["magnitude"], "D"),
    "10 %, 7 magnitudes": (QuantisedSparse(density=0.1, levels=7), lesson.BLUE, "v"),
    "10 %, 3 magnitudes": (QuantisedSparse(density=0.1, levels=3), lesson.SKY, "^"),
    "5 %, 3 magnitudes": (QuantisedSparse(density=0.05, levels=3), lesson.GREEN, "P"),
}
RATES = {QuantisedSparse: 0.02}  # weights that flip between levels are noise: it needs a lower rate than the others
small, lines = {}, []
for name, (method, *_) in ways.items():
    small[name] = np.array([sparse_run(method, seed, lr=RATES.get(type(method), 0.1)) for seed in SEEDS])
    errors, sizes = small[name].T
    line = {"way": name, "test error (%)": errors.mean(), "least": errors.min(), "largest": errors.max()}
    lines.append({**line, "file (bytes)": round(sizes.mean())})
lesson.table(lines)

# %% tags=["headline"]
best = small["10 %, 3 magnitudes"]
lesson.headline(
    f"A tenth of the weights, three magnitudes: {best[:, 1].mean():,.0f} bytes at {best[:, 0].mean():.1f} % test error ({best[:, 0].min():.1f} to {best[:, 0].max():.1f}), "
    f"where 32 bits take {small['32 bits, all weights'][:, 1].mean():,.0f} at {base:.1f} %; five seeds, bundled digits, measured"
)

# %% tags=["folded"]
fig, axes = lesson.panels(height=3.2)
for name, (_, colour, marker) in ways.items():
    axes.plot(small[name][:, 1], small[name][:, 0], marker, color=colour, alpha=0.35, markersize=4)
    axes.plot(small[name][:, 1].mean(), small[name][:, 0].mean(), marker, color=colour, markersize=9, label=name)
axes.set(xscale="log", xlabel="bytes of the file (measured)", ylabel="test error (%)", title="Small: five seeds. Large: their mean")
axes.set_xticks([1_000, 3_000, 10_000, 60_000], ["1 kB", "3 kB", "10 kB", "60 kB"])
axes.minorticks_off()
axes.legend()
lesson.figure(
    fig,
    "Test error against bytes of the file. From right to left: 32 bits near 59 kilobytes, ten percent of the weights at 32 bits near 7, two-bit LSQ near 4, then three quantised sparse networks between 1.5 and 3 "
    "kilobytes, one to four points higher.",
)

# %%
ratio = small["32 bits, all weights"][:, 1].mean() / best[:, 1].mean()
# bands: seeds 0 to 9 gave files of 2,347 bytes (standard deviation 16) and 1.5 points above 32 bits (0.7)
lesson.claim("times smaller than the dense file", ratio, 24, 26.5)
lesson.claim("10 %, 3 magnitudes: points above 32 bits", best[:, 0].mean() - base, 0.6, 2.7)
assert small["5 %, 3 magnitudes"][:, 1].mean() < best[:, 1].mean() < small["LSQ, 2 bits, all weights"][:, 1].mean()

# %% [markdown]
# ## Break it on purpose
#
# Take the staircase's *true* derivative, zero. Or let the gradient through and throw the latent weights away after every step, so that small pushes never add up.

# %%
class TrueDerivative(LSQ):
    """The gradient that calculus gives: none."""

    name = "wrong-lsq"

    def pull_weight_back(self, p, g, w):
        return 0 * super().pull_weight_back(p, g, w)


class NoMemory(Uniform):
    """Weights are rounded for good after every step."""

    name = "forgetful"

    def after_step(self, run):
        super().after_step(run)
        for p in run.model.parameters.values():
            if p.role == "weight":
                p.store.values[...] = self.quantise(p.store.values)


broken = {
    "LSQ, 2 bits": mean["LSQ"][2],
    "true derivative": np.mean([train(TrueDerivative(bits=2), seed)[2] for seed in SEEDS]),
    "uniform, 3 bits": mean["uniform, trained"][3],
    "no latent weights, 3 bits": np.mean([train(NoMemory(bits=3), seed)[2] for seed in SEEDS]),
}
lesson.table([{"way": name, "test error (%)": error} for name, error in broken.items()])

# %%
# bands: seeds 0 to 9 gave errors of 67 % (standard deviation 5) and 91 % (0.8)
lesson.claim("true derivative: test error (%)", broken["true derivative"], 56, 78)
lesson.claim("no latent weights: test error (%)", broken["no latent weights, 3 bits"], 89, 92)

# %% [markdown]
# With the true derivative only biases and steps still learn. Without latent weights it is worse: no single push is as long as half a step, so hardly a weight ever changes its level. Only the *scale* moves, since the levels span the range up to the largest weight, whose pushes are kept, and it
# grows until nothing is left of the network.

# %% [markdown]
# ## The papers' figures beside ours
#
# LSQ's abstract claims about equal errors at 3 bits and at full precision, for large networks on photographs. Quantised sparse training is a reconstruction: of its paper only the abstract was at hand, and nothing is quoted. Its recorded rows on MNIST are named by how many times smaller the file should be.

# %%
points = f"{mean['LSQ'][3] - base:+.2f} points"
reason = "a small network on small digits; first and last layer take 3 bits as well, not 8"
lesson.table([{"row": "LSQ, 3 bits against 32", "paper": "about equal", "ours, this page": points, "why they differ": reason}])
lesson.papers(
    {
        "quantised_sparse/lenet-300-100/75x": "a reconstruction; images shifted by up to a pixel; {epochs} epochs",
        "quantised_sparse/lenet-300-100/150x": "as above",
    }
)

# %% [markdown]
# Errors and bytes are *measured*. That a processor would compute faster with 2-bit weights is not claimed: the network here runs on floats that happen to be on a grid (*simulated* quantisation, as nearly always in the
# literature); only the file is small in fact.

# %% [markdown]
# ## What surprised us
#
# * **A derivative of nothing trains a network.** Eq. 2 is wrong at every point and right on average.
# * **Two bits can be worse than one.** Over the range of the weights, two bits are minus the largest, zero and the largest: nearly every weight rounds to zero, and the uniform network dies. Its one-bit form takes the mean for its step, and lives.
# * **Most of the loss comes from one wide step.** Rounding over the range fails because one large weight sets it. A step of least squared error, or a learned one, gives that weight up.
# * **Zeros and levels multiply, nearly.** Ten times fewer weights and ten times fewer bits for each make a file that is more than twenty times smaller, not a hundred: places, tables, biases and header do not shrink along.

# %% [markdown]
# ## Exercises
#
# **Exercise 5.1.** Write eq. 1.

# %% tags=["exercise"]
def quantise(w, s, bits):
    return ...


# %% tags=["check"]
@lesson.exercise("5.1")
def check():
    w = np.linspace(-3, 3, 61) + 0.01
    for bits in (2, 3, 5):
        got = quantise(w, 0.4, bits)
        assert isinstance(got, np.ndarray), "return an array"
        want = quantisers.quantise(w, 0.4, bits)
        assert np.allclose(got, want), f"{bits} bits: levels from {-(2 ** (bits - 1))} to {2 ** (bits - 1) - 1} times s"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def quantise(w, s, bits):
#     return s * np.round(np.clip(w / s, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
# ```
#
# </details>

# %% [markdown]
# **Exercise 5.2.** A latent weight starts at 0.05 with $s = 0.5$ and gets the constant gradient $g = -0.02$; the learning rate is 0.1. After how many steps does the rounded weight first become 0.5? And how many of
# these steps did the network notice?

# %% tags=["exercise"]
steps_until, noticed = ..., ...

# %% tags=["check"]
@lesson.exercise("5.2")
def check():
    assert isinstance(steps_until, int), "two whole numbers"
    assert steps_until in (100, 101), "it has to travel from 0.05 to the border at s / 2, 0.002 a step"
    assert noticed == 1, "the network sees the rounded weight only"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# steps_until = int(round((0.25 - 0.05) / (0.1 * 0.02))) + 1
# noticed = 1
# ```
#
# (Exactly at the border, round-to-even still gives 0.)
#
# </details>

# %% [markdown]
# **Exercise 5.3.** For one bit, $\hat w = \alpha\,\mathrm{sign}(w)$. Which $\alpha$ makes $\sum_i (w_i - \alpha\,\mathrm{sign}(w_i))^2$ least? Set the derivative to zero and write it as a function.

# %% tags=["exercise"]
def best_scale(w):
    return ...


# %% tags=["check"]
@lesson.exercise("5.3")
def check():
    w = rng.Stream(0, "exercise").uniform(50) - 0.3
    got = best_scale(w)
    assert isinstance(got, float), "return a number"
    trial = np.linspace(0.01, 1, 2_000)
    best = trial[np.argmin([np.sum((w - a * np.sign(w)) ** 2) for a in trial])]
    assert abs(got - best) < 1e-3, f"{got:.4f} is not the least; a search finds {best:.4f}"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def best_scale(w):
#     return float(np.abs(w).mean())
# ```
#
# Since $\sum (w - \alpha\,\mathrm{sign}\,w)^2 = \sum w^2 - 2\alpha \sum |w| + n\alpha^2$.
#
# </details>
