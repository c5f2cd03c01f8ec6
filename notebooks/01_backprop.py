# %% [markdown]
# # 01 · Backprop by hand
#
# How does a network find out which way each of its weights should move, without any machinery that differentiates for us?
#
# *Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", Nature 323, 1986. You need: matrix products and the
# chain rule. Everything later in the book rests on this chapter.*

# %% [markdown]
# ## The question
#
# A network is a function with many knobs. Give it a picture as a vector $x$; it multiplies it by a matrix $W$ of **weights**, adds a vector $b$ of **biases**, bends the
# result a little, and does so a few times over. Out comes a number for each class. A **loss** $L$ measures how wrong these numbers are. **Training**
# moves every weight a small step against its **gradient** $\partial L/\partial W$, so that $L$ falls.
#
# Libraries compute gradients by recording every operation (autograd). This one does not: each layer brings its own backward pass, derived by hand, in
# two or three lines. It is less work than it sounds, and it shows where the cost of training lies: three matrix products a layer. Sparse training is
# about making these three cheaper.

# %%
import numpy as np

import minisparse as ms
from minisparse import gradcheck, layers, lesson, loss, rng
from minisparse._core import softmax_ref
from minisparse.data import Batches
from minisparse.methods.base import Method
from minisparse.model import Model
from minisparse.stores import DenseStore

# %% [markdown]
# ## The batch is the last axis
#
# Training looks at $N$ examples at once, a **batch**. We write the batch *last*: $x$ has shape $(I, N)$, one column an example with $I$ inputs. Then the layer
# reads as in a textbook, with $W$ of shape $(O, I)$ for $O$ outputs:
#
# $$y = W x + b \tag{1}$$
#
# Suppose somebody hands us $dy = \partial L/\partial y$, shape $(O, N)$: how the loss reacts to each entry of $y$. (We write $dy$, $dx$, $dW$ for such derivatives throughout.)
# The chain rule gives the rest. Entry $y_{on} = \sum_i W_{oi} x_{in} + b_o$ contains $x_{in}$ with the factor $W_{oi}$, so
#
# $$dx = W^{\mathsf T} dy \tag{2}$$
#
# and contains $W_{oi}$ with the factor $x_{in}$, once for each example $n$; their effects add up:
#
# $$dW = dy\; x^{\mathsf T}, \qquad db = \textstyle\sum_n dy_{\cdot n} \tag{3}$$
#
# Eqs. 1, 2, 3 are **the three products of training**. They cost the same: $O \cdot I \cdot N$ multiply-adds each.

# %% [markdown]
# ## By hand: two examples through one layer

# %%
W = np.array([[1.0, -2.0], [0.5, 1.0]])
b = np.array([0.0, 1.0])
x = np.array([[1.0, 3.0], [2.0, 0.0]])  # two examples, one a column

y = W @ x + b[:, None]  # eq. 1
print("y =\n", y)

dy = np.array([[1.0, 0.0], [0.0, 2.0]])  # as if: the loss is y[0, 0] + 2 y[1, 1]
dx = W.T @ dy  # eq. 2
dW = dy @ x.T  # eq. 3
print("dx =\n", dx)
print("dW =\n", dW)
assert (dW == [[1, 2], [6, 0]]).all()

# %% [markdown]
# Check one entry by wiggling it. Raise $W_{10}$ from 0.5 to 0.501: the loss $y_{00} + 2 y_{11}$ should rise by $6 \times 0.001$.

# %%
moved = W.copy()
moved[1, 0] += 0.001


def toy_loss(W):
    y = W @ x + b[:, None]
    return y[0, 0] + 2 * y[1, 1]


print("rise of the loss:", round(toy_loss(moved) - toy_loss(W), 6))
assert np.isclose(toy_loss(moved) - toy_loss(W), 0.006)

# %% [markdown]
# The library's layer is these three lines. `store` is how the weight is kept in memory; it offers exactly the three products under the names `matmul`, `rmatmul` and
# `accumulate`:

# %%
lesson.show(layers.Linear.forward, layers.Linear.backward, layers.Linear.accumulate)
lesson.show(DenseStore.matmul, DenseStore.rmatmul)

# %% [markdown]
# (`groups` is for convolutions; a linear layer has one.) A layer never touches the matrix. So a *sparse* store, with other code behind the three names, slides in underneath and no layer notices. That is how this whole
# library works; chapter 07 measures it.

# %% [markdown]
# ## The bend: ReLU
#
# Without something nonlinear between them, two layers collapse into one matrix. The **ReLU**, $y = \max(x, 0)$, is the simplest bend. Its slope is 1 where $x > 0$ and 0
# elsewhere, so $dx = dy$ where $y > 0$ and 0 elsewhere: the backward pass is a mask.

# %%
relu = layers.ReLU()
y, cache = relu.forward(np.array([[-1.0, 2.0], [0.0, 3.0]]))
print("y =\n", y)
print("dx, where every dy is 5 =\n", relu.backward(np.full((2, 2), 5.0), cache))

# %% [markdown]
# ## The loss: softmax and cross-entropy
#
# The last layer gives $z_{cn}$, a number for each class $c$ and example $n$. The **softmax** makes probabilities of them, and the **cross-entropy** is how surprised they are by the right
# class; $t_{cn}$ is 1 for the right class of example $n$ and 0 elsewhere:
#
# $$p_{cn} = \frac{e^{z_{cn}}}{\sum_k e^{z_{kn}}}, \qquad L = -\frac1N \sum_n \sum_c t_{cn} \log p_{cn} \tag{4}$$
#
# All the exponentials cancel in the derivative, which is a small miracle: *what the network said minus what it should have said*,
#
# $$dz = \frac{p - t}{N} \tag{5}$$

# %%
z = np.log(np.array([[8.0], [1.0], [1.0]]))  # so that p = 0.8, 0.1, 0.1
value, dz = loss.softmax_cross_entropy(z, np.array([1]))
print(f"L = {value:.4f} = -log 0.1,  dz = {dz.ravel().round(3)}")
assert np.allclose(dz.ravel(), [0.8, -0.9, 0.1])
lesson.show(softmax_ref.cross_entropy)

# %% [markdown]
# ## The chain, and how far to trust it
#
# A network runs its layers forward, remembers what each needs (its **cache**), then runs them backward, handing $dx$ of one layer to the one below as $dy$.
#
# One sign error anywhere, and training still *sort of* works: that is the danger. So every gradient must be checked. For a random direction $v$ of
# the weights, $u$ of the inputs, and a random $dy$, both sides of
#
# $$\left\langle dy,\; \tfrac{d}{d\epsilon} f(x + \epsilon u,\, w + \epsilon v)\right\rangle = \langle dx, u\rangle + \langle dw, v\rangle \tag{6}$$
#
# must agree. ($f$ is the network's output, $\epsilon$ a small number, and $\langle a, b\rangle$ the sum of the products of all entries.) Two forward passes check *all* weights at once: a wrong entry anywhere upsets the sum. The derivative on the left can be a central difference,
# $(f(\epsilon) - f(-\epsilon)) / 2\epsilon$, or a *complex step*, $\mathrm{Im}\, f(i\epsilon)/\epsilon$, which subtracts nothing and so loses nothing.

# %%
net = layers.Sequential({"fc1": layers.Linear(64, 30), "relu": layers.ReLU(), "fc2": layers.Linear(30, 10)})
model = Model("check", net, (64,), dtype=np.float64)
gaps = {method: gradcheck.check_gradients(model, method=method) for method in ("central", "complex")}
for method, gap in gaps.items():
    print(f"{method:8} relative error of eq. 6: {gap:.1e}")
lesson.claim("log10 of the error, complex step", np.log10(gaps["complex"]), -18, -14)

# %% [markdown]
# How small should $\epsilon$ be? Too large, and the function bends on the way; too small, and the subtraction eats the digits. The complex step has no such valley:

# %% tags=["folded", "thumbnail"]
linear = layers.Sequential({"fc1": layers.Linear(20, 10), "tanh": layers.Tanh(), "fc2": layers.Linear(10, 5)})
smooth = Model("smooth", linear, (20,), dtype=np.float64)
sizes = 10.0 ** np.arange(-16, 0.1, 0.5)
found = {"central": [], "complex": []}
standard = dict(gradcheck.STEPS)
for method, many in found.items():
    for size in sizes:
        gradcheck.STEPS[method] = size
        many.append([max(gradcheck.check_gradients(smooth, method=method, seed=seed), 1e-17) for seed in range(5)])
gradcheck.STEPS.update(standard)
fig, axes = lesson.panels(height=3.3)
lesson.band(axes, sizes, np.array(found["central"]).T, lesson.BLUE, "central difference")
lesson.band(axes, sizes, np.array(found["complex"]).T, lesson.ORANGE, "complex step")
axes.set(xscale="log", yscale="log", xlabel="step ε", ylabel="relative error of eq. 6", title="Checking a gradient in float64, five random directions")
axes.legend()
lesson.figure(
    fig,
    "Relative error of the gradient check against the step size, both logarithmic. The central difference is a V with its lowest point near ten to the minus ten at a "
    "step of about ten to the minus five. The complex step falls steadily and stays near ten to the minus sixteen for all steps below ten to the minus eight.",
)

# %%
central = np.array(found["central"]).mean(axis=1)
lesson.claim("log10 of the best step of the central difference", np.log10(sizes[central.argmin()]), -7, -4)

# %% [markdown]
# ## The experiment: train on real digits
#
# The whole of training, written out: `model.forward`, the loss, `model.backward`, and a step of length `rate` against the gradient. Nothing is hidden. The network is 64-100-100-10:
# 64 pixels, two layers of 100 outputs with ReLUs, one output for each digit. 200 *validation* digits are looked at after each pass, or **epoch**, the 400 *test* digits once, in the end; a **seed**
# fixes the starting values and the order of the examples.

# %%
def train(seed, epochs=15, rate=0.4, batch=50):
    """The network, and its validation error in percent after each epoch."""
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    batches, errors = Batches(data.train, batch, seed), []
    for epoch in range(epochs):
        for i in range(len(batches)):
            x, labels = batches.batch(epoch, i)
            model.zero_grad()
            z, cache = model.forward(x, training=True)
            _, dz = loss.softmax_cross_entropy(z, labels)
            model.backward(dz, cache)
            for p in model.parameters.values():
                p.store.values -= rate * p.store.grad
        errors.append(ms.evaluate(model, data.validation).error)
    return model, errors, ms.evaluate(model, data.test).error


runs = [train(seed) for seed in range(5)]
tests = np.array([test for *_, test in runs])
print("test errors (%):", tests)

# %% tags=["folded"]
fig, axes = lesson.panels(height=3.0)
lesson.band(axes, np.arange(1, 16), [errors for _, errors, _ in runs], lesson.COLOURS["dense"], "dense, 17,610 weights", "o")
axes.set(xlabel="passes over the training digits (epochs)", ylabel="validation error (%)", yscale="log", title="Five seeds: mean, least and largest")
axes.set_yticks([0.5, 1, 2, 5, 10, 20, 40], ["0.5", "1", "2", "5", "10", "20", "40"])
axes.minorticks_off()
axes.legend()
lesson.figure(
    fig,
    "Validation error against epochs with a five-seed band on a logarithmic axis: from about twenty percent after the first epoch to two or three percent after fifteen.",
)

# %% tags=["headline"]
lesson.headline(
    f"Thirty lines of NumPy-like code train to {tests.mean():.2f} % test error ({tests.min():.2f} to {tests.max():.2f}, five seeds) on the bundled digits, measured; "
    "the hand-made gradients agree with complex steps to fifteen digits"
)

# %%
lesson.claim("mean test error after 15 epochs (%)", tests.mean(), 1.5, 3.5)

# %% [markdown]
# The library's own loop adds validation, checkpoints and *hooks*, the places where a method such as DropBack may step in: `transform`, `pullback`, `penalty` and `after_step`. One step of it
# fits on a screen:

# %%
from minisparse import train as loop

lesson.show(loop.learn)

# %% [markdown]
# ## Break it on purpose
#
# Three classic mistakes in one layer. Does training notice? Does the check?

# %%
class ForgetsTheTranspose(layers.Linear):
    """dx = W dy, which only square layers survive."""

    def backward(self, dy, cache):
        self.accumulate(dy, cache)
        return self.params["weight"].store.matmul(dy)


class ForgetsTheBias(layers.Linear):
    """db is the last example's alone."""

    def accumulate(self, dy, cache):
        self.params["weight"].store.accumulate(dy, cache)
        self.params["bias"].store.add_gradient(dy[:, -1])


class WrongSign(layers.Linear):
    """One weight of 1,600 gets the gradient of the wrong sign."""

    def accumulate(self, dy, cache):
        super().accumulate(dy, cache)
        self.params["weight"].store.grad[3, 7] *= -1


def network(kind, dtype=np.float32):
    stack = {"flatten": layers.Flatten(), "fc1": layers.Linear(64, 40), "relu1": layers.ReLU(), "fc2": kind(40, 40)}
    return Model(kind.__name__, layers.Sequential({**stack, "relu2": layers.ReLU(), "fc3": layers.Linear(40, 10)}), (1, 8, 8), dtype=dtype)


data, rows = ms.load("digits"), []
for kind in (layers.Linear, ForgetsTheTranspose, ForgetsTheBias, WrongSign):
    trained = network(kind)
    ms.fit(trained, data, Method(), ms.TrainSettings(epochs=15, batch=50, lr=0.2, momentum=0.0, schedule="constant"))
    gap = gradcheck.check_gradients(network(kind, np.float64))
    rows.append({"layer": kind.__name__, "test error (%)": ms.evaluate(trained, data.test).error, "check, eq. 6": f"{gap:.0e}"})
lesson.table(rows)

# %%
lesson.claim("test error with one wrong sign (%)", rows[3]["test error (%)"], 1, 5)
lesson.claim("test error with W in place of its transpose (%)", rows[1]["test error (%)"], 1, 8)
assert float(rows[0]["check, eq. 6"]) < 1e-8
assert all(float(row["check, eq. 6"]) > 1e-4 for row in rows[1:])

# %% [markdown]
# All of them learn. You would never find them by looking at the error. The check sees each, the single wrong sign among thousands included.

# %% [markdown]
# ## The paper's figure beside ours
#
# The 1986 paper has no such table; the dense network on MNIST is the yardstick of all later chapters.

# %%
lesson.papers(
    {
        "dense/lenet-300-100/266610/plain": "{epochs} epochs where DropBack's paper, whose figure this is, has 100",
        "dense/mnist-100-100/89610/plain": "as above",
    }
)

# %% [markdown]
# *Recalled* figures stand from memory. Errors and gradients here are *measured*; nothing is simulated.

# %% [markdown]
# ## What surprised us
#
# * **Wrong gradients train.** A layer with the wrong matrix in its backward pass still gets most digits right: the layer above it learns to cope.
# * **One check covers everything.** Two forward passes test a million weights, because random directions have no blind spot.
# * **The first layer needs two products, not three.** Nobody asks for the gradient of the pixels. In 64-100-100-10 that saves an eighth of the step (exercise 1.3).

# %% [markdown]
# ## Exercises
#
# **Exercise 1.1.** Write the backward pass of a linear layer: `dx`, `dW` and `db`.

# %% tags=["exercise"]
def linear_backward(W, x, dy):
    """W (O, I), x (I, N), dy (O, N) -> dx (I, N), dW (O, I), db (O,)."""
    return ...


# %% tags=["check"]
@lesson.exercise("1.1")
def check():
    s = rng.Stream(0, "exercise")
    W, x, dy = (s.uniform(r * c).reshape(r, c) for r, c in ((3, 4), (4, 5), (3, 5)))
    result = linear_backward(W, x, dy)
    assert isinstance(result, tuple) and len(result) == 3, "return dx, dW, db"
    for got, want, name in zip(result, (W.T @ dy, dy @ x.T, dy.sum(axis=1)), ("dx", "dW", "db"), strict=True):
        assert np.shape(got) == want.shape, f"{name} has shape {np.shape(got)}, expected {want.shape}"
        assert np.allclose(got, want), f"{name} has the right shape and wrong values"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def linear_backward(W, x, dy):
#     return W.T @ dy, dy @ x.T, dy.sum(axis=1)
# ```
#
# </details>

# %% [markdown]
# **Exercise 1.2.** A *softplus*, $y = \log(1 + e^x)$, is a rounded ReLU. Derive its backward pass and let the library check it (eq. 6).

# %% tags=["exercise"]
class Softplus(layers.Layer):
    def forward(self, x, training=False):
        return np.log1p(np.exp(x)), x

    def backward(self, dy, cache):
        x = cache
        return dy  # not yet: dy times the slope at x


# %% tags=["check"]
@lesson.exercise("1.2")
def check():
    gap = gradcheck.check_gradients(Model("softplus", Softplus(), (7,), dtype=np.float64))
    assert gap < 1e-8, f"eq. 6 is off by {gap:.1e}: what is the derivative of log(1 + exp(x))?"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# class Softplus(layers.Layer):
#     def forward(self, x, training=False):
#         return np.log1p(np.exp(x)), x
#
#     def backward(self, dy, cache):
#         x = cache
#         return dy / (1 + np.exp(-x))
# ```
#
# The slope is $e^x/(1 + e^x) = 1/(1 + e^{-x})$, the sigmoid.
#
# </details>

# %% [markdown]
# **Exercise 1.3.** How many multiply-adds does one training step of 64-100-100-10 take *per example*, when the first layer skips eq. 2? And how many does the forward pass
# alone take?

# %% tags=["exercise"]
forward_macs, step_macs = ..., ...

# %% tags=["check"]
@lesson.exercise("1.3")
def check():
    model = ms.build("mnist-100-100", (1, 8, 8), 10)
    sizes = [p.size for p in model.parameters.values() if p.role == "weight"]
    assert isinstance(forward_macs, int), "two whole numbers"
    assert forward_macs == sum(sizes), "one multiply-add a weight"
    assert step_macs == 3 * sum(sizes) - sizes[0], "three products a layer, the first layer two"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# forward_macs = 64 * 100 + 100 * 100 + 100 * 10
# step_macs = 3 * forward_macs - 64 * 100
# ```
#
# So a training step costs a little less than three forward passes. Keep 5 % of the weights in a sparse store, and all three products shrink with them.
#
# </details>
