"""The rows of ESPN: M. Cho, A. Joshi, C. Hegde, 2020, arXiv 2006.15741.

The paper's accuracy tables could not be read, so none of its figures is quoted. Its abstract claims better accuracy at
high sparsity than several other methods: what we ask is to be below SNIP.

On lenet-5-caffe the search runs with Adam, where the authors take SGD: without a nonlinearity behind its convolutions,
and in so few steps, SGD at rates of 0.01 to 0.05 ended in NaN while masks shrank, or took too many connections at once.
Validation errors at density 0.01, seed 0: rate 1e-3 and 20 epochs 0.98 % with alpha 1e-4, 1.48 with 1e-3; rate 2e-3 and
24 epochs 0.58 with alpha 1e-4.
"""

from dataclasses import replace

from minisparse.reproduce.rows import Recipe, Row
from minisparse.reproduce.snip import ADAM, FC

TRAINING = {
    "lenet-300-100": replace(FC, batch=256, lr=0.05),
    "lenet-5-caffe": ADAM,
}
SEARCH = {
    "lenet-300-100": {},
    "lenet-5-caffe": {"begin": 0.1, "end": 0.6, "tune": 1.0, "alpha": 1e-4},
}


def espn(method: str, network: str, density: float) -> Recipe:
    return Recipe({"name": method, "density": density, **SEARCH[network]}, TRAINING[network], standardised=True)


def _finetune(network: str, density: float, accept: float | None, below_snip: bool) -> Row:
    against = (f"snip/{network}/{density}", 0.0) if below_snip else None
    return Row(f"espn/{network}/{density}", None, espn("espn", network, density), accept, against)


def _rewind(network: str, density: float) -> Row:
    return Row(f"espn-rewind/{network}/{density}", None, espn("espn-rewind", network, density), seeds=3)


ROWS = (
    *(_finetune("lenet-300-100", d, accept, True) for d, accept in ((0.05, 1.75), (0.02, 2.0), (0.01, 2.4))),
    _finetune("lenet-300-100", 0.004, None, False),
    *(_finetune("lenet-5-caffe", d, accept, False) for d, accept in ((0.02, 0.8), (0.01, 0.9), (0.005, 1.1))),
    *(_rewind("lenet-300-100", d) for d in (0.05, 0.02, 0.01)),
)
