"""The rows of Deep Compression: S. Han, H. Mao, W. Dally, 2016, arXiv 1510.00149; with the sizes it is compared with.

Sizes are those of whole files, biases, code books, tables and header included. The paper's KB are taken as 1,000 bytes.

Densities and bits are the paper's, but for 7.5 % in place of 8 of lenet-5-caffe's weights: at 8 % Adam at 1e-3 had
1.00 % validation error in 45,006 bytes after 12 epochs, at 2e-3 0.80 in 45,035 after 20 (seed 0). Validation errors of
lenet-300-100, seed 0, at density 0.05, where the last of three rounds raised 1.14 to 1.66 % and sharing cost nothing:
1.66 % in 16,474 bytes, 17,390 with the paper's codecs alone.
"""

from dataclasses import replace

from minisparse.reproduce.rows import Figure, Recipe, Row
from minisparse.reproduce.snip import ADAM, FC, NOT_HERE, TOO_LARGE

TABLE_1 = "arXiv 1510.00149, table 1"
MIRACLE = "arXiv 1810.00440, table 1"
SHIFTED = "trained on shifted images; rows that end in plain are not"
TRAINING = {"lenet-300-100": replace(FC, epochs=60), "lenet-5-caffe": replace(ADAM, epochs=20)}
METHOD = {
    "lenet-300-100": {"density": 0.08, "cut_at": 0.4, "retrain": 0.3, "bits": 6},
    "lenet-5-caffe": {"density": 0.075, "cut_at": 0.4, "retrain": 0.3, "bits": 5, "conv_bits": 8},
}


def _ours(network: str, paper: tuple[float, float], accept: float, accept_bytes: int):
    figure = Figure(paper[0], "verified", TABLE_1, ratio=paper[1])
    recipe = Recipe({"name": "deep-compression", **METHOD[network]}, TRAINING[network], standardised=True)
    plain = replace(recipe, training=replace(recipe.training, shift=0))
    key = f"deep_compression/{network}"
    yield Row(key, figure, recipe, accept, accept_bytes=accept_bytes, deviation=SHIFTED)
    yield Row(f"{key}/plain", figure, plain, weighed=True, seeds=3)


def _table_1():
    """Networks on ImageNet: (error, ratio)."""
    for network, error, ratio in (("alexnet", 42.78, 35), ("vgg-16-imagenet", 31.17, 49)):
        yield Row(f"deep_compression/{network}/{ratio}x", Figure(error, "verified", TABLE_1, ratio), reason=TOO_LARGE)


def _others():
    """Sizes on record: method -> its source and, by network, (error, ratio, mark)."""
    fc, conv = "lenet-300-100", "lenet-5-caffe"
    quoted = {
        "sparse-vd": ("arXiv 1701.05369", {fc: (1.92, 113, "recalled"), conv: (1.0, 365, "recalled")}),
        "bayesian-gnj": ("arXiv 1705.08665", {fc: (1.8, 58, "recalled"), conv: (1.0, 573, "recalled")}),
        "bayesian-ghs": ("arXiv 1705.08665", {fc: (1.8, 59, "recalled"), conv: (1.0, 771, "verified")}),
        "weightless": (MIRACLE, {conv: (1.0, 382, "verified")}),
        "miracle": (MIRACLE, {conv: (0.96, 1110, "verified")}),
        "entropy-penalised": ("arXiv 1906.06624", {fc: (1.9, 124, "recalled"), conv: (0.9, 606, "recalled")}),
    }
    for method, (source, figures) in quoted.items():
        for network, (error, ratio, mark) in figures.items():
            yield Row(f"{method}/{network}/{ratio}x", Figure(error, mark, source, ratio), reason=NOT_HERE)


ROWS = (
    *_ours("lenet-300-100", (1.58, 40), 1.65, 27_000),
    *_ours("lenet-5-caffe", (0.74, 39), 0.80, 44_000),
    *_table_1(),
    *_others(),
)
