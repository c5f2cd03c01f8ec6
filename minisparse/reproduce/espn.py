"""The rows of ESPN: M. Cho, A. Joshi, C. Hegde, 2020, arXiv 2006.15741.

The paper's accuracy tables could not be read, so none of its figures is quoted. Its abstract claims better accuracy at
high sparsity than several other methods: what we ask is to be below SNIP.
"""

from dataclasses import replace

from minisparse.reproduce.rows import Recipe, Row
from minisparse.reproduce.snip import CONV, FC

TRAINING = {
    "lenet-300-100": replace(FC, batch=256, lr=0.05),
    "lenet-5-caffe": replace(CONV, epochs=20, batch=256, warmup=0.0),
}


def espn(method: str, network: str, density: float) -> Recipe:
    return Recipe({"name": method, "density": density}, TRAINING[network], standardised=True)


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
