# %% [markdown]
# # 07 · When sparse is fast
#
# A matrix with nine zeros out of ten needs a tenth of the arithmetic: why is it so often not faster, and what does it take to make it so?
#
# *Sources: S. Williams, A. Waterman, D. Patterson, "Roofline", Communications of the ACM 52, 2009; S. Han et al., Deep Compression, 2015,
# [arXiv 1510.00149](https://arxiv.org/abs/1510.00149), section 6. You need: chapter 01's three products.*

# %% [markdown]
# ## The question
#
# A **mask** keeps some entries of a weight matrix $W$ of shape $(O, I)$ and sets the others to zero. Its **density** is the share that is kept. Multiplying by
# zero is a waste; storing zeros is a waste; so keep only the others, and their places. The usual form is **compressed sparse rows** (CSR), three arrays:
#
# * `values`: the kept entries, row by row;
# * `indices`: the column of each;
# * `indptr`: where each row begins, so that row $o$ is entries `indptr[o]` to `indptr[o + 1] - 1`.
#
# The product $y = W x$ with a batch $x$ of shape $(I, N)$, batch last, becomes a sum over the kept entries $k$ of each row:
#
# $$y_o = \sum_{k = \mathrm{indptr}_o}^{\mathrm{indptr}_{o+1} - 1} \mathrm{values}_k \; x_{\mathrm{indices}_k} \tag{1}$$
#
# where $\mathrm{values}_k$ is `values[k]`, and $x_i$ is a whole row of $N$ numbers: that input, for every example of the batch.

# %%
import json
import time

import numpy as np

import minisparse as ms
from minisparse import lesson, rng
from minisparse._core import spmm, spmm_ref
from minisparse._core.pattern import Pattern
from minisparse.reproduce import results
from minisparse.stores import SparseStore

# %% [markdown]
# ## By hand: three rows, four kept entries

# %%
W = np.array([[0, 2, 0, 0], [1, 0, 0, -1], [0, 0, 0, 3]], np.float32)
row, column = np.nonzero(W)
values, indices = W[row, column], column
indptr = np.searchsorted(row, np.arange(4))
print("values ", values, "\nindices", indices, "\nindptr ", indptr)

x = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.float32)  # I = 4 inputs, N = 2 examples
y = np.zeros((3, 2), np.float32)
for o in range(3):
    for k in range(indptr[o], indptr[o + 1]):
        y[o] += values[k] * x[indices[k]]  # eq. 1: one multiplication, a whole batch
print(y)
assert (y == W @ x).all() and indptr.tolist() == [0, 1, 3, 4]

# %% [markdown]
# The inner line is why the batch comes last. For each kept weight, the processor reads *one* index and then runs over $N$ neighbours in memory, eight or sixteen at
# a time (its **vectors**). With the batch first, every kept weight would jump to $N$ places in memory.

# %% [markdown]
# ## The library's code
#
# The specification, in NumPy, of the product and of the third product of training, the gradient *on the mask only*:

# %%
lesson.show(spmm_ref.matmul, spmm_ref.sampled)

# %% [markdown]
# The compiled kernel computes the same. It keeps eight vectors of $y_o$ in registers, walks the row's entries once, and writes them when it is done. The sparse store hands
# the three products to it, and so every layer, method and optimiser of the library runs on it unchanged:

# %%
lesson.show(SparseStore.matmul, SparseStore.accumulate)

# %% [markdown]
# ## The cost, on paper
#
# Let $d$ be the density. The sparse product takes $2\,d\,O\,I\,N$ operations (a multiplication and an addition each), the dense one $2\,O\,I\,N$. If the processor did them
# equally fast, sparse would win at any $d < 1$. It does not: the dense product reuses each loaded number many times. With speeds $F_s$ and $F_d$, in operations a
# second, the times meet at the **break-even density**
#
# $$d^* = \frac{F_s}{F_d} \tag{2}$$
#
# A slow sparse kernel is one with a small $d^*$. And there is a second limit. A product cannot be faster than its operands arrive: with $B$ bytes a second from memory,
#
# $$F \le \min\big(F_{\text{peak}},\; B \cdot \text{operations a byte}\big) \tag{3}$$
#
# where "operations a byte" is how many operations the product does for each byte of its operands. On logarithmic axes that is a slope and a ceiling: the **roofline**.

# %% [markdown]
# ## The experiment: time against density, here and now
#
# $O = I = 512$, one thread, the best of many repetitions. These numbers are *measured* on the machine that ran this page, and are the only ones in the book that
# differ from run to run.

# %% tags=["timing"]
def seconds(function, repeat=30):
    """The fastest of many calls: whatever else the machine does only ever adds time."""
    best = np.inf
    for _ in range(repeat):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best


def operands(density, n, size=512):
    stream = rng.Stream(0, "timing", n)
    dense = (stream.uniform(size * size).reshape(size, size) - 0.5).astype(np.float32)
    keep = stream.uniform(size * size).reshape(size, size) < density
    x = stream.uniform(size * n).reshape(size, n).astype(np.float32)
    row, column = np.nonzero(keep)
    return dense * keep, Pattern(np.searchsorted(row, np.arange(size + 1)), column, size), dense[keep], x


DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
times = {}
for n in (1, 128):
    for density in DENSITIES:
        W, pattern, values, x = operands(density, n)
        assert np.allclose(spmm.matmul(pattern, values, x), W @ x, atol=1e-3)
        times[n, density] = {
            "dense": seconds(lambda W=W, x=x: W @ x),
            "sparse": seconds(lambda p=pattern, v=values, x=x: spmm.matmul(p, v, x)),
            "gradient on the mask": seconds(lambda p=pattern, x=x: spmm.sampled(p, x, x)),
        }
lesson.table(
    [
        {"N": n, "density": d, **{f"{name} (µs)": round(1e6 * t, 1) for name, t in row.items()}, "dense / sparse": row["dense"] / row["sparse"]}
        for (n, d), row in times.items()
    ]
)

# %% [markdown]
# The committed benchmark ran alone on the same kind of machine, against the libraries that one would use instead. Beside it, the roofline: the measured speed of
# every sparse product under the two ceilings that were measured with it. The slope is the speed of *memory*: small operands stay in the processor's caches between repetitions, and
# their points may lie above it.

# %% tags=["thumbnail", "folded"]
bench = json.loads((results.folder().parent / "benchmarks" / "spmm.json").read_text())
rows = [r for r in bench["rows"] if (r["O"], r["I"], r["N"], r["threads"]) == (512, 512, 128, 1)]
rows = sorted(rows, key=lambda r: r["density"])
fig, (left, right) = lesson.panels(1, 2, height=3.7)
shown = {
    "ours": ("this library, sparse", lesson.BLUE, "o"),
    "mkl": ("MKL, sparse", lesson.GREEN, "D"),
    "scipy": ("SciPy, sparse", lesson.ORANGE, "s"),
    "torch": ("PyTorch, sparse", lesson.PINK, "^"),
    "numpy_dense": ("NumPy, dense", lesson.BLACK, ""),
}
for name, (label, colour, marker) in shown.items():
    style = "--" if "dense" in name else "-"
    left.plot([r["density"] for r in rows], [1e6 * r[f"{name}_s"] for r in rows], style, color=colour, marker=marker, markersize=4, label=label)
left.set(xscale="log", yscale="log", xlabel="density of W (512, 512)", ylabel="time of W x, N = 128 (µs)", title="Time against density, one thread")
left.legend(fontsize=7.5)
fast = [r for r in bench["rows"] if r["threads"] == 2]
intensity = np.array([r["flops"] / r["bytes"] for r in fast])
speed = np.array([r["flops"] / r["ours_s"] / 1e9 for r in fast])
one = np.array([r["N"] == 1 for r in fast])
machine = bench["machine"]
right.plot(intensity[~one], speed[~one], "o", markersize=3.5, color=lesson.BLUE, alpha=0.6, label="sparse, N ≥ 64")
right.plot(intensity[one], speed[one], "v", markersize=3.5, color=lesson.SKY, label="sparse, N = 1")
across = np.geomspace(0.1, 300, 50)
right.plot(across, np.minimum(machine["dense_gflops"], machine["copy_gbytes_per_s"] * across), color="black", linewidth=1.3, label="measured ceilings, eq. 3")
right.set(xscale="log", yscale="log", xlabel="operations a byte of operands", ylabel="speed ($10^9$ operations a second)", title="Roofline, two threads")
right.legend(fontsize=7.5)
lesson.figure(
    fig,
    "Left: time of a sparse product against density, both logarithmic. This library's line is the lowest of the sparse ones and meets the dense dashed line beyond a density of one half; MKL, "
    "SciPy and PyTorch meet it near 0.1. Right: the roofline, speed against operations a byte; products with large batches lie near a third of the ceiling, products with one "
    "example lie on the slope at the left.",
)

# %% tags=["timing", "headline"]
gain = times[128, 0.05]["dense"] / times[128, 0.05]["sparse"]
lesson.headline(
    f"A product at density 0.05 and batch 128 is {gain:.1f} times faster than NumPy's dense one on one thread, measured here; "
    f"break-even at density {bench['summary']['break_even_density']:g} in the committed benchmark"
)

# %% tags=["timing"]
lesson.claim("dense over sparse time at density 0.05, N = 128", gain, 2, 25)
lesson.claim("dense over sparse time at density 1, N = 128", times[128, 1.0]["dense"] / times[128, 1.0]["sparse"], 0.1, 1.05)

# %%
at = {r["density"]: r for r in rows}
lesson.claim("committed: best other sparse library over ours at density 0.1", min(at[0.1][f"{n}_s"] for n in ("mkl", "scipy", "torch")) / at[0.1]["ours_s"], 1.5, 8)
lesson.claim("committed: break-even density", bench["summary"]["break_even_density"], 0.3, 0.7)

# %% [markdown]
# ## The same in training
#
# What counts in the end is the step: three products a layer, the loss, the update. We train a wide network (64-1200-400-10) on real digits under one SNIP mask, first in the dense
# store, which multiplies zeros, then in the sparse one. Same mask, same numbers, same digits.

# %% tags=["timing"]
def epoch_time(store, density):
    data = ms.load("digits")
    model = ms.build("lenet-300-100", data.input_shape, data.classes, width=4)
    began = time.perf_counter()
    ms.fit(model, data, ms.SNIP(density=density, floor=1), ms.TrainSettings(epochs=2, batch=100, store=store))
    return (time.perf_counter() - began) / 2, ms.evaluate(model, data.test).error


rows = []
for density in (0.2, 0.05, 0.01):
    dense, error = min(epoch_time("dense", density) for _ in range(3))
    sparse, same = min(epoch_time("auto", density) for _ in range(3))
    rows.append({"density": density, "dense store (ms)": 1e3 * dense, "sparse store (ms)": 1e3 * sparse, "faster by": dense / sparse})
    assert abs(error - same) <= 3
lesson.table(rows)
lesson.claim("training at density 0.05: dense over sparse time", rows[1]["faster by"], 1.3, 12)

# %% [markdown]
# ## Break it on purpose
#
# Two popular ways to be *sparse* and gain nothing. One: keep the mask as an array of zeros and ones and multiply. Two: do the right arithmetic in a loop of an interpreted language, as the
# NumPy twin above does.

# %% tags=["timing"]
W, pattern, values, x = operands(0.05, 128)
mask = W != 0
full = W + 0.1
# the first two in turns, so that a slow moment meets both
in_turns = [(seconds(lambda: full @ x), seconds(lambda: (full * mask) @ x)) for _ in range(5)]
ways = {
    "dense product": min(dense for dense, _ in in_turns),
    "mask, then dense product": min(masked for _, masked in in_turns),
    "the twin: a loop over rows in NumPy": seconds(lambda: spmm_ref.matmul(pattern, values, x), 5),
    "the kernel": seconds(lambda: spmm.matmul(pattern, values, x)),
}
lesson.table([{"at density 0.05": name, "time (µs)": round(1e6 * t, 1)} for name, t in ways.items()])
lesson.claim("mask and multiply over dense", ways["mask, then dense product"] / ways["dense product"], 0.95, 10)
lesson.claim("the twin over the kernel", ways["the twin: a loop over rows in NumPy"] / ways["the kernel"], 5, 1000)

# %% [markdown]
# A mask array is *simulated* sparsity: right for research on accuracy, worthless for speed. Many papers' code stops there.

# %% [markdown]
# ## The paper's figure beside ours
#
# | what | paper | ours | why they differ |
# | --- | --- | --- | --- |
# | pruned layers at about 10 % density against dense, batch 1 | 3 to 4 times faster (Deep Compression, section 6.3, CPU and GPU libraries of 2015) | the table above, N = 1 | one vector: bound by memory, so it gains what it need not read |
# | the same with a batch | no gain, or slower | the table above, N = 128: several times faster | their sparse kernels had a break-even near 0.1; ours runs over contiguous batch vectors |

# %%
bench_one = {r["density"]: r for r in bench["rows"] if (r["O"], r["I"], r["N"], r["threads"]) == (512, 512, 1, 1)}
bench_many = {r["density"]: r for r in bench["rows"] if (r["O"], r["I"], r["N"], r["threads"]) == (512, 512, 128, 1)}
lesson.table(
    [
        {
            "committed, one thread": f"density {d}",
            "N = 1, dense / sparse": bench_one[d]["numpy_dense_s"] / bench_one[d]["ours_s"],
            "N = 128, dense / sparse": bench_many[d]["numpy_dense_s"] / bench_many[d]["ours_s"],
        }
        for d in (0.02, 0.05, 0.1, 0.3)
    ]
)

# %% [markdown]
# ## What surprised us
#
# * **The layout matters more than the algorithm.** With the batch last, the same CSR arithmetic that other libraries do runs several times faster.
# * **A loop over a small local array does not stay in registers.** Written that way, the kernel ran at a sixth of its speed. Naming eight accumulators one by one brought it back.
# * **The gradient on the mask costs little more than the product.** With a batch, sampling $dy\,x^{\mathsf T}$ at the kept entries takes a tenth to a third longer than eq. 1: all three products shrink.
# * **Break-even depends on the batch.** With 128 examples it lies near one half; with a single one near 0.15, where the table above has ratios of 1: one number a
#   kept weight leaves nothing to run over, and reading its index costs as much as reading a weight.

# %% [markdown]
# ## Exercises
#
# **Exercise 7.1.** Turn a matrix into CSR. (An empty row repeats its neighbour in `indptr`.)

# %% tags=["exercise"]
def to_csr(W):
    """values, indices, indptr of the entries that are not zero."""
    return ...


# %% tags=["check"]
@lesson.exercise("7.1")
def check():
    W = np.array([[0.0, 0, 0], [5, 0, 6], [0, 7, 0]])
    parts = to_csr(W)
    assert isinstance(parts, tuple) and len(parts) == 3, "return three arrays"
    values, indices, indptr = (np.asarray(part).tolist() for part in parts)
    assert values == [5, 6, 7] and indices == [0, 2, 1], "row by row, then by column"
    assert indptr == [0, 0, 2, 3], "one more than there are rows; the empty row begins where it ends"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def to_csr(W):
#     row, column = np.nonzero(W)
#     return W[row, column], column, np.searchsorted(row, np.arange(len(W) + 1))
# ```
#
# </details>

# %% [markdown]
# **Exercise 7.2.** A dense kernel reaches 200 and a sparse one 60 billion operations a second. From which density down does the sparse one win (eq. 2)? And how many times faster is
# it at a density of 0.05?

# %% tags=["exercise"]
break_even, faster = ..., ...

# %% tags=["check"]
@lesson.exercise("7.2")
def check():
    assert isinstance(break_even, float), "two numbers"
    assert abs(break_even - 0.3) < 1e-9, "the sparse product does d times the work"
    assert abs(faster - 6) < 1e-9, "d* / d"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# break_even = 60 / 200
# faster = break_even / 0.05
# ```
#
# </details>

# %% [markdown]
# **Exercise 7.3.** Write the third product, the gradient on the mask: `dw[k]` is the entry of $dy\,x^{\mathsf T}$ at kept entry $k$, without ever making the whole matrix.

# %% tags=["exercise"]
def gradient_on_mask(rows, columns, dy, x):
    """rows, columns (K,), dy (O, N), x (I, N) -> dw (K,)."""
    return ...


# %% tags=["check"]
@lesson.exercise("7.3")
def check():
    s = rng.Stream(1, "exercise")
    dy, x = s.uniform(12).reshape(3, 4), s.uniform(20).reshape(5, 4)
    rows, columns = np.array([0, 0, 2]), np.array([1, 4, 3])
    dw = gradient_on_mask(rows, columns, dy, x)
    assert isinstance(dw, np.ndarray) and dw.shape == (3,), "one number a kept entry"
    assert np.allclose(dw, (dy @ x.T)[rows, columns]), "sum over the batch of dy[row] x[column]"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def gradient_on_mask(rows, columns, dy, x):
#     return (dy[rows] * x[columns]).sum(axis=1)
# ```
#
# </details>
