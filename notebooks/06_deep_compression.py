# %% [markdown]
# # 06 · Deep Compression: from weights to bytes
#
# How small can the *file* of a trained network get, if every bit of it has to be decodable?
#
# *Paper: S. Han, H. Mao, W. Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman Coding", 2015,
# [arXiv 1510.00149](https://arxiv.org/abs/1510.00149).*

# %% [markdown]
# ## The question
#
# A trained network is stored too generously three times over. Most **weights** hardly matter, yet all are stored. Each takes 32 bits, yet a few dozen different values would do. And every stored symbol takes the same number of bits,
# although some are a hundred times as frequent as others. Deep Compression removes the three in turn: **prune**, **share**, **code**.

# %%
import numpy as np

import minisparse as ms
from minisparse import lesson
from minisparse._core import gaps_ref, huffman, huffman_ref
from minisparse.codecs import canonical, relative
from minisparse.codecs.tensor import entropy
from minisparse.fileformat import FileFormatError
from minisparse.methods import trained_quantisation as sharing
from minisparse.methods.deep_compression import DeepCompression

# %% [markdown]
# ## Stage 1: prune
#
# Train; keep the weights of largest magnitude and set the others to zero; train on what is left; do it again. (Chapter 03 asks whether one could know earlier.) The kept weights are called *non-zeros*; let there be $n$ of them in a layer.
#
# ## Stage 2: share
#
# Give each layer only $k = 2^b$ different values, so that a weight is a number of $b$ bits, the *index* into a table, the **code book**. Which values? **K-means** on a line: start with $k$ evenly spaced **centroids** $c_j$, from the least weight of the layer to the largest,
#
# $$c_j = \min w + (\max w - \min w)\,\frac{j}{k - 1}, \qquad j = 0 \dots k - 1 \tag{1}$$
#
# give each weight $w_i$ the index $I_i$ of its nearest centroid, move each centroid to the mean of its weights,
#
# $$I_i = \text{argmin}_j\, |w_i - c_j|, \qquad c_j \leftarrow \text{mean of the } w_i \text{ with } I_i = j \tag{2}$$
#
# and repeat until nothing moves. Then train the *centroids*. All weights of a cluster move together, so their gradients add up; with the loss $L$,
#
# $$\frac{\partial L}{\partial c_j} = \sum_{i:\, I_i = j} \frac{\partial L}{\partial w_i} \tag{3}$$
#
# By hand, seven weights and three centroids:

# %%
x = np.array([-1.0, -0.9, -0.1, 0.0, 0.2, 0.7, 1.0], np.float32)
start = sharing.starting_points(x, 3, "linear", None)
centroids = sharing.kmeans(x, start)
index = np.abs(x[:, None] - centroids).argmin(axis=1)
print("start   ", start, "\nsettled ", centroids.round(4), "\nindices ", index)
g = np.array([1.0, 1.0, 0.0, 2.0, -1.0, 3.0, 0.5])  # gradients of the weights
print("eq. 3   ", np.bincount(index, g))
assert index.tolist() == [0, 0, 1, 1, 1, 2, 2] and np.allclose(np.bincount(index, g), [2, 1, 3.5])
lesson.show(sharing.kmeans, sharing.TrainedQuantisation.pullback)

# %% [markdown]
# ## Stage 3: code
#
# **Where.** Instead of its place, store how many zeros $z$ were passed since the last non-zero: small numbers. With $B$ bits a gap, up to $2^B - 1$ zeros can be said. Longer runs need a **filler**: an entry that is a zero itself. The
# example of the authors' EIE paper, $B = 4$: two zeros, 1, 2, eighteen zeros, 3.

# %%
column = np.array([0, 0, 1, 2] + 18 * [0] + [3], np.float32)
layer = relative.streams(column, column != 0, 4)
print("levels", layer.levels, " (0 is a filler)\ngaps  ", layer.gaps)
assert layer.gaps.tolist() == [2, 0, 15, 2] and layer.levels.tolist() == [1, 2, 0, 3]
assert (relative.dense(layer, len(column)) == column).all()

# %% [markdown]
# **Huffman.** Frequent symbols get short **codes**, rare ones long, and no code is the beginning of another. For letters a to f that occur 5, 9, 12, 13, 16 and 45 times, the optimal lengths are

# %%
counts = np.array([5, 9, 12, 13, 16, 45])
lengths = canonical.code_lengths(counts)
words = huffman_ref._code_words(lengths)
for letter, count, length, word in zip("abcdef", counts, lengths, words, strict=True):
    ideal = -np.log2(count / counts.sum())
    print(f"{letter}: {count:2} times, -log2 p = {ideal:.2f}, code {int(word):0{length}b}")
assert counts @ lengths == 224
facade = np.array(["abcdef".index(letter) for letter in "facade"], np.uint32)
print("facade ->", huffman.encode(facade, lengths).tobytes().hex())
assert huffman.encode(facade, lengths).tobytes().hex() == "74eb80"

# %% [markdown]
# Information theory says how long a code *should* be: $-\log_2 p$ bits for a symbol that occurs with probability $p$. The mean of that is the **entropy**
#
# $$H = -\sum_s p_s \log_2 p_s, \qquad H \le \text{mean Huffman length} < H + 1. \tag{4}$$
#
# *Canonical* means: the lengths alone fix the codes. So a file stores four bits a symbol for the lengths, and no tree.

# %%
lesson.show(huffman_ref._code_words, gaps_ref.to_symbols)

# %% [markdown]
# **The bits, exactly.** Let $f$ be the number of fillers. A layer takes, after each stage (codes: the Huffman codes of levels and gaps),
#
# $$32\,n + B\,(n + f) \;\to\; (b + B)(n + f) + 32 \cdot 2^b \;\to\; \text{codes} + 32\,k + \text{tables} \tag{5}$$

# %% [markdown]
# ## The experiment
#
# 64-100-100-10 on the bundled digits, 17,610 values of which about a tenth is kept; three rounds of pruning and retraining, then sharing at $b$ bits. Five seeds.

# %%
SEEDS, BITS = range(5), (2, 3, 4, 6)


def train(bits, seed):
    data = ms.load("digits", seed=seed)
    model = ms.build("mnist-100-100", data.input_shape, data.classes, seed=seed)
    method = DeepCompression(density=0.1, bits=bits, floor=1)
    ms.fit(model, data, method, ms.TrainSettings(epochs=40, batch=50, lr=0.1, weight_decay=1e-4, seed=seed))
    return model, ms.evaluate(model, data.test).error


runs = {bits: [train(bits, seed) for seed in SEEDS] for bits in BITS}
PAPERS_CODECS = ["gaps", "codebook", "huffman", "raw"]
rows = []
for bits, many in runs.items():
    sizes = [ms.compress(model).file_bytes for model, _ in many]
    as_paper = [ms.compress(model, PAPERS_CODECS).file_bytes for model, _ in many]
    errors = [error for _, error in many]
    row = {"bits b": bits, "test error (%)": np.mean(errors), "least": min(errors), "largest": max(errors)}
    rows.append({**row, "file (bytes)": round(np.mean(sizes)), "with the paper's codecs": round(np.mean(as_paper))})
lesson.table(rows)

# %%
four = {row["bits b"]: row for row in rows}[4]
lesson.claim("test error at 4 bits (%)", four["test error (%)"], 2, 4.5)
lesson.claim("times smaller than float32 at 4 bits", 4 * 17_610 / four["file (bytes)"], 20, 32)
lesson.claim("points that 2 bits cost against 6", rows[0]["test error (%)"] - rows[3]["test error (%)"], 0.2, 3)
lesson.claim("the paper's codecs over the file's choice, bytes", four["with the paper's codecs"] / four["file (bytes)"], 1.0, 1.12)

# %% [markdown]
# ## Down the ladder of bytes
#
# One network, stage by stage (eq. 5), and then as the library's own file, which chooses the shortest of several codecs for each tensor.

# %% tags=["thumbnail", "folded"]
model = runs[4][0][0]
weights = [p for p in model.parameters.values() if p.role == "weight"]
stages = np.zeros(3)
for p in weights:
    values, mask = p.value().ravel(), p.mask.ravel()
    width = relative.choose_width(values, mask)
    stages += np.array(relative.sizes(relative.streams(values, mask, width), width)) / 8
biases = 4 * sum(p.size for p in model.parameters.values() if p.role != "weight")
file, paper = ms.compress(model), ms.compress(model, PAPERS_CODECS)
ladder = {
    "dense, float32": 4 * model.size,
    "pruned: values and gaps": stages[0] + biases,
    "shared: 4-bit indices and gaps": stages[1] + biases,
    "Huffman-coded": stages[2] + biases,
    "a file: the same and a header": paper.file_bytes,
    "a file: best codec for each tensor": file.file_bytes,
}
fig, (left, right) = lesson.panels(1, 2, height=3.3, width=9.0, gridspec_kw={"width_ratios": [1.25, 1]})
names = list(ladder)[::-1]
bars = left.barh(names, [ladder[name] for name in names], color=[lesson.BLUE] * 2 + [lesson.COLOURS["deep-compression"]] * 3 + [lesson.COLOURS["dense"]])
left.bar_label(bars, [f"{ladder[name]:,.0f}" for name in names], padding=3, fontsize=8)
left.set(xscale="log", xlabel="bytes", title="One network, stage by stage")
left.set_xlim(1_000, 250_000)
left.grid(axis="y", visible=False)
for p, colour, marker in zip(weights, (lesson.SKY, lesson.ORANGE, lesson.RED), "os^", strict=True):
    layer = relative.streams(p.value().ravel(), p.mask.ravel(), 6)
    for stream, fill in ((layer.levels, colour), (layer.gaps, "none")):
        counts = np.bincount(stream)
        counts = counts[counts > 0]
        code = canonical.code_lengths(counts)
        right.plot(-np.log2(counts / counts.sum()), code + 0.06 * "os^".index(marker), marker, markersize=4, color=colour, markerfacecolor=fill, label=p.name if fill == colour else None)
right.plot([0, 11], [0, 11], color="black", linewidth=1)
right.set(xlabel="ideal length, $-\\log_2 p$ (bits)", ylabel="length of the Huffman code (bits)", title="Codes are whole bits")
right.legend(title="filled: levels, open: gaps", title_fontsize=8)
lesson.figure(
    fig,
    "Left: bars of bytes on a logarithmic axis going down from about 70,000 for the dense network over 9,000 pruned and 3,200 shared to 2,700 to 2,800 for what is coded and the files. Right: length of "
    "each symbol's Huffman code against its ideal length; points scatter in steps within one bit of the diagonal.",
)

# %% tags=["headline"]
ours = f"{four['test error (%)']:.1f} % test error ({four['least']:.1f} to {four['largest']:.1f}, five seeds, 4 bits a value)"
lesson.headline(
    f"{4 * model.size:,} bytes become {four['file (bytes)']:,} at {ours}: "
    f"{4 * model.size / four['file (bytes)']:.0f} times smaller, written and decoded, bundled digits, measured"
)

# %%
levels = relative.streams(weights[0].value().ravel(), weights[0].mask.ravel(), 6).levels
coded = np.bincount(levels)[np.bincount(levels) > 0]
mean_length, ideal = coded @ canonical.code_lengths(coded) / coded.sum(), 8 * entropy(levels) / len(levels)
print(f"fc1's levels: entropy {ideal:.3f}, Huffman {mean_length:.3f} bits a symbol")
assert ideal <= mean_length < ideal + 1
lesson.claim("Huffman over entropy, fc1's levels", mean_length / ideal, 1, 1.05)

# %% [markdown]
# Huffman comes within a few percent of the entropy; pruning and sharing did the heavy work. What does a coded layer consist of?

# %%
parts = {"levels": 0, "gaps": 0, "tables": 0, "codebook": 0}
for p in weights:
    values, mask = p.value().ravel(), p.mask.ravel()
    width = relative.choose_width(values, mask)
    for name, data in relative.encode(relative.streams(values, mask, width), width).items():
        parts[name] += len(data)
lesson.table([{"part of the three layers": name, "bytes": size} for name, size in parts.items()])
overhead = (parts["tables"] + parts["codebook"]) / sum(parts.values())
lesson.claim("share of tables and code book in the coded layers", overhead, 0.08, 0.2)

# %% [markdown]
# ## One flipped bit
#
# Short codes have a price: lose your place in the bit string and everything after it is read wrongly. Or is it? We flip one bit of a coded stream and count how many symbols change, for every bit of it. Huffman
# codes tend to fall back into step by themselves, after a symbol or two (some rows below stay dark: in step again, but with one symbol more or less than there were). A wrong *gap* moves every later
# weight to another place, for good.

# %% tags=["folded"]
def damage(stream, most):
    """Rows: the bit that is flipped. Columns: the symbols behind it, in order; True where one is wrong."""
    counts = np.bincount(stream)
    code = canonical.code_lengths(counts)
    data, rows = huffman.encode(stream, code), []
    ends = np.cumsum(code[stream])
    for bit in range(0, int(ends[-1]) - 1, max(1, int(ends[-1]) // most)):
        broken = data.copy()
        broken[bit // 8] ^= np.uint8(128 >> bit % 8)
        try:
            got = huffman.decode(broken, np.array([len(broken)]), code, len(stream))
        except ValueError:  # a symbol too few or too many in the end: read what there is
            got = walk(broken, code, len(stream))
        first = np.searchsorted(ends, bit, side="right")
        rows.append((got, first))
    return rows


def walk(data, code, count):
    """Symbols read one bit at a time, until the bits end."""
    table = {(int(n), int(w)): s for s, (n, w) in enumerate(zip(code, huffman_ref._code_words(code), strict=True)) if n}
    out, length, word = np.full(count, -1), 0, 0
    symbols = iter(range(count))
    for bit in np.unpackbits(data):
        length, word = length + 1, 2 * word + int(bit)
        if (length, word) in table:
            place = next(symbols, None)
            if place is None:
                break
            out[place], length, word = table[length, word], 0, 0
    return out


layer = relative.streams(weights[1].value().ravel(), weights[1].mask.ravel(), 6)
shown = 120  # symbols behind the bit; bits with fewer behind them are left out


def places(gaps):
    return np.cumsum(np.maximum(gaps, 0).astype(int) + 1)


level_map, gap_map = (
    np.array([(read(got) != read(right))[first : first + shown] for got, first in damage(right, 200) if first + shown <= len(right)])
    for right, read in ((layer.levels, np.asarray), (layer.gaps, places))
)
fig, axes = lesson.panels(1, 2, height=3.0, sharey=True)
for axis, picture, title in zip(axes, (level_map, gap_map), ("Values: falls back into step", "Places: wrong for good"), strict=True):
    axis.imshow(picture, aspect="auto", cmap="Blues", interpolation="nearest", vmin=0, vmax=1.2)
    axis.set(title=title, xlabel="weights behind the flipped bit")
    axis.grid(False)
axes[0].set_ylabel("which bit was flipped\n(a sample of the stream)")
lesson.figure(
    fig,
    "Two damage maps; each row is one flipped bit, each column a weight behind it, dark where wrong. Left, values: in most rows only the first few columns are dark, about a third of the rows stay dark. Right, places: most rows are dark over their whole width.",
)
first_wrong = float(np.median(level_map.sum(axis=1)))
print(f"values: {first_wrong:.0f} of the next {shown} wrong (median over bits); places: {np.median(gap_map.sum(axis=1)):.0f}")

# %%
lesson.claim("values wrong behind a flipped bit, median", first_wrong, 1, 5)
lesson.claim("places wrong among the next 120, median", np.median(gap_map.sum(axis=1)), 115, 120)

# %% [markdown]
# So a file needs more than codes. This library's carries a checksum for each section and a hash over all; one flipped bit *anywhere* is refused, and the message says where:

# %%
data = bytearray(file.to_bytes())
refused = 0
for place in range(0, len(data), 13):
    data[place] ^= 4
    try:
        ms.CompressedModel(bytes(data))
    except FileFormatError as error:
        refused, message = refused + 1, error
    data[place] ^= 4
print(f"{refused} of {len(range(0, len(data), 13))} damaged files refused; the last one: {message}")
assert refused == len(range(0, len(data), 13))

# %% [markdown]
# ## Break it on purpose
#
# Forget the fillers: store the gap modulo $2^B$ and hope. Every long run of zeros then shifts all that follows.

# %%
broken = ms.CompressedModel(file.to_bytes()).model()
for p in broken.parameters.values():
    if p.role == "weight":
        values, places = p.value().ravel()[p.mask.ravel()], np.flatnonzero(p.mask)
        gap = (np.diff(places, prepend=-1) - 1) % 2**4  # 4 bits, no fillers
        mask = np.zeros(p.size, bool)
        mask[np.cumsum(gap + 1) - 1] = True
        new = np.zeros(p.size, np.float32)
        new[mask] = values
        p.keep(mask.reshape(p.shape))
        p.store.values[...] = new.reshape(p.shape)
test = ms.load("digits").test
print(f"as it should be: {ms.evaluate(model, test).error} %   without fillers: {ms.evaluate(broken, test).error} %")
lesson.claim("test error without fillers (%)", ms.evaluate(broken, test).error, 60, 95)

# %% [markdown]
# ## The paper's figure beside ours
#
# On MNIST the network is 784-300-100-10; runs are recorded, and a `plain` row is trained on the images as they are, the other on images shifted by up to one pixel. The other rows are of this page.

# %%
lesson.papers(
    {
        "deep_compression/lenet-300-100": "shifted images, {epochs} epochs; bytes of a whole file, header included",
        "deep_compression/lenet-300-100/plain": "the same without shifts",
    }
)
smaller = 4 * model.size / four["file (bytes)"]
saved = 1 - ladder["Huffman-coded"] / ladder["shared: 4-bit indices and gaps"]
here = {
    "times smaller": ("40 (table 1, MNIST)", f"{smaller:.0f}", "a network of a fifteenth the size: tables and header weigh more"),
    "Huffman coding saves": ("20 % (from 32 to 40 times)", f"{saved:.0%}", "16 levels instead of 64"),
}
columns = ("paper", "ours", "why they differ")
lesson.table([{"on this page": name, **dict(zip(columns, row, strict=True))} for name, row in here.items()])
lesson.claim("share that Huffman coding saves", saved, 0.08, 0.25)

# %% [markdown]
# Bytes and errors are *measured*; nothing here is simulated.

# %% [markdown]
# ## What surprised us
#
# * **Sharing costs next to nothing down to 4 bits:** sixteen values a layer are enough.
# * **The tables count.** On layers of this size code book and tables are a tenth and more of the whole; a formula without them flatters.
# * **Huffman heals, mostly.** The median flipped bit spoils a few values. It is the *gaps* that make damage permanent.
# * **Adaptive arithmetic codes need no tables at all** and win another few percent; that is what "best codec for each tensor" takes.

# %% [markdown]
# ## Exercises
#
# **Exercise 6.1.** Write the gaps of a mask with fillers: the symbols of the gap stream, a filler being the gap $2^B - 1$ that stands for $2^B$ places.

# %% tags=["exercise"]
def gap_stream(mask, B):
    """mask (n,) bool -> list of gaps below 2^B."""
    return ...


# %% tags=["check"]
@lesson.exercise("6.1")
def check():
    for B in (1, 2, 4):
        mask = np.array([0, 0, 1, 1] + 18 * [0] + [1] + 3 * [0], bool)
        got = gap_stream(mask, B)
        assert got is not ..., "return a list"
        assert list(got) == relative.streams(mask.astype(np.float32), mask, B).gaps.tolist(), f"B = {B}: {got}"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def gap_stream(mask, B):
#     out, zeros = [], 0
#     for kept in mask:
#         if not kept:
#             zeros += 1
#             continue
#         while zeros >= 2**B:
#             out.append(2**B - 1)
#             zeros -= 2**B
#         out.append(zeros)
#         zeros = 0
#     return out
# ```
#
# Zeros behind the last non-zero need no symbol: the layer's shape says how many there are.
#
# </details>

# %% [markdown]
# **Exercise 6.2.** Decode `"ea"` (hex) with the code of *facade* above: f = 0, c = 100, d = 101, e = 110, a = 1110, b = 1111.

# %% tags=["exercise"]
word = "?"

# %% tags=["check"]
@lesson.exercise("6.2")
def check():
    bits_ = f"{0xEA:08b}"
    code = {"f": "0", "c": "100", "d": "101", "e": "110", "a": "1110", "b": "1111"}
    assert set(word) <= set(code), "letters from a to f"
    assert "".join(code[letter] for letter in word) == bits_, f"the bits are {bits_}; yours give another string"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# rest = f"{0xEA:08b}"
# word, code = "", {"f": "0", "c": "100", "d": "101", "e": "110", "a": "1110", "b": "1111"}
# while rest:
#     letter = next(letter for letter, bits in code.items() if rest.startswith(bits))
#     word, rest = word + letter, rest[len(code[letter]):]
# ```
#
# </details>

# %% [markdown]
# **Exercise 6.3.** A layer of 100,000 weights keeps 8 %, at random places. How many *bits a kept weight* must the places take at the least? (The entropy of a coin with $p = 0.08$, times $1/p$.)

# %% tags=["exercise"]
bits_a_place = ...

# %% tags=["check"]
@lesson.exercise("6.3")
def check():
    assert isinstance(bits_a_place, float), "a number"
    p = 0.08
    want = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) / p
    assert abs(bits_a_place - want) < 0.01, f"not {bits_a_place:.2f}"


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# p = 0.08
# bits_a_place = float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) / p)
# ```
#
# About 5.0 bits. The paper's layers take 3.7 to 4.4: their non-zeros are *not* at random places, and a coder may use that.
#
# </details>
