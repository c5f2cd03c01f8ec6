# %% [markdown]
# # 10 · Fifteen ways to fool yourself about compression
#
# When somebody says "forty times smaller at no loss", what could be wrong with it, and how would you notice?
#
# *Every mistake here has been made: in public code of well-known papers, or by us while this library was written. Each is shown with its number, next to the number that is right, and
# what catches it.*

# %% [markdown]
# ## The question
#
# Compression has two numbers: how much smaller, and how much worse. Both are easy to get wrong in your own favour, and nobody complains. This chapter trains small networks on real digits and
# makes the mistakes one by one. **Size** $S$ is the length of a file that a program can decode. The **ratio** is
#
# $$r = \frac{4 P}{S} \tag{1}$$
#
# for $P$ weights of four bytes each. **Error** $e$ is a percentage of $n$ test images. When a network errs with probability $q$, the share it gets wrong in a test of $n$ images has the standard
# deviation
#
# $$\sigma = \sqrt{q\,(1 - q)/n}. \tag{2}$$
#
# By hand: $q = 0.03$ and $n = 400$ give $\sigma = \sqrt{0.03 \cdot 0.97 / 400} = 0.0085$, that is 0.85 points. Keep this number in mind when two methods differ by half a point.

# %%
import numpy as np

import minisparse as ms
from minisparse import compressed, lesson, rng
from minisparse._core import topk, topk_ref
from minisparse.codecs import Gaps, Huffman, tensor
from minisparse.codecs.gaps import choose_width
from minisparse.cost import EnergyTable
from minisparse.methods.base import Method

BUDGET, SEEDS, EPOCHS = 1_500, range(5), 30
assert np.isclose(np.sqrt(0.03 * 0.97 / 400), 0.0085, atol=1e-4)


def train(method, seed=0, data=None, **settings):
    """A trained 64-100-100-10 network, its data, and the run."""
    data = ms.load("digits", seed=seed) if data is None else data
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    recipe = {"epochs": EPOCHS, "batch": 50, **method.recipe, **settings, "seed": seed}
    return model, data, ms.fit(model, data, method, ms.TrainSettings(**recipe))


model, data, _ = train(ms.Magnitude(budget=BUDGET))
file = ms.compress(model)
P, K = model.size, model.kept
error = ms.evaluate(model, data.test).error
print(f"{P:,} values, {K:,} kept, {file.file_bytes:,} bytes in the file, test error {error} %")

# %% [markdown]
# ## Size
#
# ### 1. Count weights, forget where they are
#
# "Thirteen times fewer parameters." But a value without its place is worth nothing; biases are parameters too; the file has a header.

# %%
weights = sum(p.size for p in model.parameters.values() if p.role == "weight")
kept = sum(p.kept for p in model.parameters.values() if p.role == "weight")
ratios = {"kept weights only": weights / kept}
ratios["the file, eq. 1"] = file.dense_bytes / file.file_bytes
print(", ".join(f"{name}: {r:.2f} times smaller" for name, r in ratios.items()))

# %% [markdown]
# ### 2. Choose a fat yardstick
#
# Deep Compression ports have compared with plain CSR (four bytes a value, four an index); the dense network itself is smaller than that above a density of one half. And a dense float file can be
# compressed as well: if yours is, theirs should be.

# %%
dense_model, _, _ = train(Method(), lr=0.4, momentum=0.0, schedule="step")
dense_file = ms.compress(dense_model).file_bytes
csr = sum(8 * p.kept + 4 * (len(p.value()) + 1) for p in model.parameters.values())
ratios["against a compressed dense file"] = dense_file / file.file_bytes
print(f"dense: {4 * P:,} bytes raw, {dense_file:,} compressed; CSR of the pruned one: {csr:,}; our file: {file.file_bytes:,}")

# %% [markdown]
# ### 3. Quote entropy as if it were a file
#
# Entropy is what an ideal coder would need if it *already knew* the statistics. A real one writes tables, and Huffman codes cannot go below one bit a symbol. A map that is 95 % zeros:

# %%
zeros = (rng.Stream(0, "map").uniform(20_000) < 0.05).astype(np.uint32)
ideal = tensor.entropy(zeros)
written = len(Huffman().encode(zeros))
as_gaps = len(Gaps(choose_width(zeros.astype(bool))).encode(zeros.astype(bool)))
print(f"entropy {ideal:,.0f} bytes; Huffman of the map {written:,}; Huffman of the gaps between ones {as_gaps:,}")
lesson.claim("Huffman of the map over its entropy", written / ideal, 3, 4)

# %% [markdown]
# ### 4. Kilobytes of two sizes
#
# 1 kB is 1000 bytes and 1 KiB is 1024. Dense in one, compressed in the other: 2.4 % for nothing. Over a megabyte, 4.9 %. *Caught by:* printing bytes.

# %% [markdown]
# ### 5. Assume eight bits
#
# "With 8-bit weights this would be four times smaller still." Perhaps, if the network survives it, and if it is done. Here are four bits, done: round each layer's kept weights to the nearest of
# 15 levels.

# %%
rounded = ms.CompressedModel(file.to_bytes()).model()
for p in rounded.parameters.values():
    step = np.abs(p.value()).max() / 7
    levels = np.round(p.value() / max(step, 1e-9)) * step
    p.store.values[...] = np.where(p.mask, levels, 0) if p.mask is not None else levels
quantised = ms.compress(rounded)
before, after = ms.evaluate(model, data.test).error, ms.evaluate(rounded, data.test).error
ratios["assumed: 4 bits a value"] = 4 * P / (K / 2)
ratios["done: 4 bits, the file"] = file.dense_bytes / quantised.file_bytes
print(f"assumed {K / 2:,.0f} bytes; the file has {quantised.file_bytes:,}; error from {before} to {after} %")
lesson.claim("points that rounding to 4 bits costs", after - before, -1, 1)

# %% tags=["thumbnail", "folded"]
ratios["against CSR of itself"] = csr / file.file_bytes
ordered = sorted(ratios.items(), key=lambda pair: pair[1])
fig, axes = lesson.panels(height=2.9)
honest = {"the file, eq. 1", "done: 4 bits, the file"}
colours = [lesson.BLUE if name in honest else lesson.ORANGE for name, _ in ordered]
bars = axes.barh([name for name, _ in ordered], [r for _, r in ordered], color=colours)
axes.bar_label(bars, [f"{r:.1f}x" for _, r in ordered], padding=4)
axes.set(xlabel="how many times smaller", title="Blue: bytes written and decoded. Orange: other ways to count")
axes.set_xlim(0, max(ratios.values()) * 1.12)
axes.grid(axis="y", visible=False)
lesson.figure(
    fig,
    "Bar chart of compression ratios quoted for one and the same network: from 2 times against CSR of itself over about 10 against a compressed dense file, 12 for the written file, 13 counting kept weights only, "
    "to more than 90 assuming four bits for values alone, where the file really written with four-bit values gives about 40.",
)

# %% tags=["headline"]
lesson.headline(
    f"One pruned network, six ways to count: {min(ratios.values()):.1f} to {max(ratios.values()):.0f} times smaller; the decodable file says {ratios['the file, eq. 1']:.1f} "
    f"({ratios['done: 4 bits, the file']:.0f} with four-bit values), measured"
)

# %%
lesson.claim("ratio by the file", ratios["the file, eq. 1"], 10, 15)
lesson.claim("largest over smallest way to count", max(ratios.values()) / min(ratios.values()), 20, 80)

# %% [markdown]
# ### 6. Write a file that nobody reads back
#
# Half floats look harmless. *Caught by:* decoding the file and comparing every bit; this library does it inside `compress`, every time.

# %%
half = {name: p.value().astype(np.float16).astype(np.float32) for name, p in model.parameters.items()}
different = sum(np.count_nonzero(half[name][p.mask] != p.value()[p.mask]) for name, p in model.parameters.items())
print(f"{different:,} of {K:,} kept values come back with other bits")
assert different > 0.9 * K
lesson.show(compressed._check_same)

# %% [markdown]
# ## Masks
#
# ### 7. A threshold is not a budget
#
# To keep the $k$ largest, find the $k$-th largest score and compare. With `>` ties fall out, with `>=` they all stay; quantised weights and dead units tie by the hundred. The public emulation of one
# famous method compares with a threshold and allows itself 10 % more than its budget.

# %%
scores = np.round(np.abs(model.parameters["fc2.weight"].initial()).ravel(), 2)  # rounded: many ties
k = 1_000
threshold = np.sort(scores)[-k]
exact = topk.topk([scores], k)[0].sum()
above, not_below = np.sum(scores > threshold), np.sum(scores >= threshold)
print(f"asked for {k}: '>' keeps {above}, '>=' keeps {not_below}, selection by index {exact}")
assert above < k < not_below and exact == k
lesson.show(topk_ref.topk)

# %% [markdown]
# ### 8. Momentum raises the dead
#
# Set pruned weights to zero after each step, but forget the optimiser: its momentum remembers their gradients, moves them, and when they come back into the mask they come with a jump. Weight decay does the like.
# Here a mask is applied once, and training goes on with the plain loop:

# %%
revived, _, run = train(Method(), epochs=1, momentum=0.9)
mask = np.abs(revived.parameters["fc2.weight"].value()) > 0.1
revived.parameters["fc2.weight"].store.values *= mask  # "pruned"
velocity = run.optimizer.state["velocity/fc2.weight"]
revived.parameters["fc2.weight"].store.grad[...] = 0
run.optimizer.step(revived.parameters, 0.1)
back = np.count_nonzero(revived.parameters["fc2.weight"].value()[~mask])
print(f"after one step with no gradient at all, {back:,} of {np.sum(~mask):,} pruned weights are alive again")
lesson.claim("share that is alive again", back / np.sum(~mask), 0.5, 1)

# %% [markdown]
# ### 9. Take credit for dead pixels
#
# Weights of inputs that are always zero can all go, without any method. On MNIST that is a tenth and more of the first layer. Say what was free.

# %%
dead = (data.train.x == 0).all(axis=0).ravel()
free = dead.sum() * 100
print(f"{dead.sum()} of 64 pixels are black in every training image:")
print(f"{free} of {weights:,} weights ({free / weights:.1%}) cost nothing to remove")

# %% [markdown]
# ### 10. Signed where it should be absolute
#
# A learned mask may swing below zero. A public implementation stops its search when few masks are `> eps`, and then keeps the largest `|m|`: a mask at -0.5 counts as dead for the one and alive for the other.

# %%
m = np.array([0.9, 0.4, -0.5, 0.003, -0.002])
print("alive by m > eps:", np.sum(m > 0.01), "  alive by |m| > eps:", np.sum(np.abs(m) > 0.01))

# %% [markdown]
# ## Error
#
# ### 11. The best epoch, by the test set
#
# Evaluate on the test set after every epoch and report the least. It feels like early stopping. It is choosing the luckiest of thirty draws.

# %%
class TestEachEpoch(Method):
    """What one must not do."""

    def __init__(self, data):
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "seen", [])

    def after_step(self, run):
        if run.step % len(run.batches) == 0:
            self.seen.append(ms.evaluate(run.model, self.data.test).error)


lucky, final = [], []
for seed in SEEDS:
    data_ = ms.load("digits", seed=seed)
    spy = TestEachEpoch(data_)
    train(ms.Compose(ms.SNIP(density=0.05), spy), seed, data_)
    lucky.append(min(spy.seen))
    final.append(spy.seen[-1])
print(f"last epoch {np.mean(final):.2f} %, best epoch on the test set {np.mean(lucky):.2f} %")
lesson.claim("points gained by looking", np.mean(final) - np.mean(lucky), 0.3, 1)

# %% [markdown]
# ### 12. One seed
#
# The same method, the same settings, ten seeds. Report the best run against somebody else's mean, and you have improved on yourself.

# %%
def test_error(method, seed, **settings):
    trained, its_data, _ = train(method, seed, **settings)
    return ms.evaluate(trained, its_data.test).error


errors = np.array([test_error(ms.SNIP(density=0.1), seed) for seed in range(10)])
q = errors.mean() / 100
print("sorted:", *np.sort(errors))
print(f"mean {100 * q:.2f}, standard deviation {errors.std():.2f}; eq. 2 expects {100 * np.sqrt(q * (1 - q) / 400):.2f} of 400 images")
lesson.claim("largest minus least of ten seeds (points)", np.ptp(errors), 1, 3)

# %% [markdown]
# ### 13. A tired baseline
#
# "No loss against the dense network", trained for a tenth of the epochs, or at the pruned one's learning rate.

# %%
tired = np.mean([test_error(Method(), seed, epochs=3, lr=0.02) for seed in SEEDS])
rested = np.mean([test_error(Method(), seed, lr=0.4, momentum=0.0, schedule="step") for seed in SEEDS])
pruned = np.mean([test_error(ms.Magnitude(budget=BUDGET), seed) for seed in SEEDS])
print(f"dense, 3 epochs: {tired:.2f} %    pruned, 30 epochs: {pruned:.2f} %    dense, 30 epochs: {rested:.2f} %")
lesson.claim("pruned beats the tired baseline by (points)", tired - pruned, 8, 18)
lesson.claim("and loses against the rested one by", pruned - rested, 0.5, 2.5)

# %% [markdown]
# ## Speed and energy
#
# ### 14. Zeros are not free
#
# A mask of zeros and ones in front of a dense product is *slower* than the product: chapter 07 measures it. Operations that a paper "saves" are saved only by code that skips them. Our cost model counts them by the
# facts: weights at rest over zero need none, DropBack's need all.

# %%
dropped = train(ms.DropBack(budget=BUDGET), epochs=1)[0]
three = {"dense": dense_model, "pruned": model, "dropback": dropped}
table = [{"method": name, "multiply-adds": sum(row["macs"] for row in ms.inference(m))} for name, m in three.items()]
lesson.table(table)
assert table[2]["multiply-adds"] == table[0]["multiply-adds"] > 10 * table[1]["multiply-adds"]

# %% [markdown]
# ### 15. Two changes, one headline
#
# The dense network in DRAM against the compressed one in on-chip SRAM: most of the gain is the *place*. Take the two apart.

# %%
energy = EnergyTable()
dram_dense, dram_small = (n * energy.dram_pj_per_byte / 1e6 for n in (4 * P, file.file_bytes))
sram_small = file.file_bytes * energy.sram_pj_per_byte / 1e6
print("estimated, for 45 nm, of reading the weights once:")
print(f"dense from DRAM {dram_dense:.2f} µJ, compressed from DRAM {dram_small:.2f}, compressed from SRAM {sram_small:.4f}")
factors = {"compression": dram_dense / dram_small, "the place": dram_small / sram_small, "the headline": dram_dense / sram_small}
print(",  ".join(f"{name} {factor:,.0f} times" for name, factor in factors.items()))
lesson.claim("what the place alone gives", dram_small / sram_small, 127.9, 128.1)

# %% [markdown]
# ## Break it on purpose
#
# Put five of them together, none of them a lie by itself: count kept weights at an assumed four bits (1, 5), the best seed and the best epoch on the test set (11, 12), against a tired baseline (13).

# %%
best = min(lucky)
print(f'"{ratios["assumed: 4 bits a value"]:.0f} times smaller and {tired - best:.1f} points BETTER than dense"')
print(f'the same work, honestly: {ratios["the file, eq. 1"]:.1f} times smaller, {pruned - rested:.1f} points worse')
assert tired > best and pruned > rested

# %% [markdown]
# ## The papers' figures beside ours
#
# | quoted as | counts | by the file | why they differ |
# | --- | --- | --- | --- |
# | LeNet-300-100 "40x" (Deep Compression, table 1) | places, code books and tables: honest | 27 KB of the paper's own accounting | nothing to add; the model for eq. 1 |
# | "68x" for the same network (Sparse VD, authors' notes) | kept weights, no places | not stated | way 1 of this chapter |
# | "1,910x" for LeNet-5 (ADMM-NN; recalled) | weights without indices | not stated | ways 1 and 5 |
#
# Everything on this page is *measured*, but for way 15, which is *estimated*.

# %% [markdown]
# ## What surprised us
#
# * **The largest factor is the counting.** The same network is 2 or 94 times smaller; no method in this book changes its own result by as much.
# * **Looking at the test set wins little each time,** and that is the trap: half a point a decision, and a paper makes twenty.
# * **Most of these were found by a test, not by reading.** A budget that must be met *exactly*, bytes that must decode *to the bit*, a sum that must equal the file's length: equalities find what tolerances
#   forgive.

# %% [markdown]
# ## Exercises
#
# **Exercise 10.1.** Keep exactly $k$ of a score vector, ties to the lower index.

# %% tags=["exercise"]
def keep_exactly(scores, k):
    """A bool mask with k ones."""
    return scores >= np.sort(scores)[-k]


# %% tags=["check"]
@lesson.exercise("10.1")
def check():
    for scores, k in ((np.array([1.0, 3, 3, 3, 2]), 2), (np.zeros(5), 3), (np.arange(4.0), 4), (np.arange(4.0), 0)):
        mask = keep_exactly(scores, k)
        assert np.sum(mask) == k, f"{np.sum(mask)} ones of {scores}, asked for {k}"
        assert (mask == topk.topk([scores], k)[0]).all(), "ties belong to the lower index"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def keep_exactly(scores, k):
#     mask = np.zeros(len(scores), bool)
#     mask[np.argsort(-scores, kind="stable")[:k]] = True
#     return mask
# ```
#
# (`np.sort(scores)[-0]` was a second bug: with $k = 0$ the first version keeps everything.)
#
# </details>

# %% [markdown]
# **Exercise 10.2.** Two methods have test errors of 3.0 % and 3.5 % on the same 400 digits, one run each. How many standard deviations (eq. 2 at $q = 0.0325$; differences of two independent numbers have
# $\sqrt2$ times as much) lie between them? How many test images would make it three?

# %% tags=["exercise"]
deviations, images = ..., ...

# %% tags=["check"]
@lesson.exercise("10.2")
def check():
    assert isinstance(deviations, float), "two numbers"
    sigma = np.sqrt(2 * 0.0325 * 0.9675 / 400)
    assert abs(deviations - 0.005 / sigma) < 0.01, "0.5 points over sqrt(2) sigma"
    assert abs(images / (400 * (3 * sigma / 0.005) ** 2) - 1) < 0.02, "sigma shrinks with the square root of n"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# sigma = np.sqrt(2 * 0.0325 * (1 - 0.0325) / 400)
# deviations = float(0.005 / sigma)
# images = 400 * (3 / deviations) ** 2
# ```
#
# 0.4 deviations: a coin toss. It would take more than 22,000 images.
#
# </details>

# %% [markdown]
# **Exercise 10.3.** Write the honest ratio of a model: eq. 1, with the file's bytes.

# %% tags=["exercise"]
def honest_ratio(model):
    kept = sum(p.kept for p in model.parameters.values())
    return model.size / kept


# %% tags=["check"]
@lesson.exercise("10.3")
def check():
    want = 4 * model.size / ms.compress(model).file_bytes
    assert abs(honest_ratio(model) - want) < 1e-9, f"{honest_ratio(model):.2f} counts values; the file says {want:.2f}"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def honest_ratio(model):
#     return 4 * model.size / ms.compress(model).file_bytes
# ```
#
# </details>
