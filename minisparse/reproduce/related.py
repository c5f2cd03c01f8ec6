"""The baselines, in one table on MNIST, and the methods side by side on CIFAR-10.

No paper states these figures for these networks under one training: there is nothing to compare with but each
other. Each of a network's rows on MNIST is trained as SNIP's are, unless its method asks for training of its own.
"""

from minisparse.reproduce import dropback, espn
from minisparse.reproduce.rows import Recipe, Row
from minisparse.reproduce.snip import on_mnist
from minisparse.run import TrainSettings

NETWORKS = ("lenet-300-100", "lenet-5-caffe")
DENSITIES = (0.05, 0.02, 0.01)
METHODS = {
    "random": {"name": "random"},
    "magnitude-init": {"name": "magnitude-init"},
    "snip": {"name": "snip"},
    "iterative-snip": {"name": "iterative-snip"},
    "force": {"name": "force"},
    "grasp": {"name": "grasp"},
    "prune-retrain": {"name": "prune-retrain"},
    "magnitude": {"name": "magnitude", "begin": 0.1, "end": 0.6},
    "lottery": {"name": "lottery", "rounds": 5},
    "espn": {"name": "espn"},
    "espn-rewind": {"name": "espn-rewind"},
    "dropback": {"name": "dropback"},
}
"""Name in a row's key -> the method and its settings, density apart."""
CIFAR = TrainSettings(epochs=15, batch=64, lr=0.1, schedule="cosine", momentum=0.9, weight_decay=5e-4, augment=True)
VGG, RESNET = ("vgg16", 0.25), ("resnet-20", 0.5)
"""Widths at which a run takes less than 20 minutes on two cores."""
FLOOR = "every layer keeps at least one weight, where one global cut could empty it"


def _baseline(method: str, network: str, density: float) -> Row:
    settings = {key: value for key, value in METHODS[method].items() if key != "name"}
    if method == "dropback":
        recipe = dropback.dropback(density)
    elif method.startswith("espn"):
        recipe = espn.espn(method, network, density)
    else:
        recipe = on_mnist(METHODS[method]["name"], network, density=density, **settings)
    return Row(f"{method}/{network}/{density}", recipe=recipe, seeds=5 if network == "lenet-300-100" else 3)


def _table(declared: set[str]):
    """Every cell that no paper's file has declared."""
    for network in NETWORKS:
        for method in METHODS:
            for density in DENSITIES:
                row = _baseline(method, network, density)
                if row.key not in declared:
                    yield row


def _cifar(network: str, width: float, densities: tuple[float, ...]):
    def row(method: str, density: float, training: TrainSettings, deviation: str = "", **settings) -> Row:
        amount = {} if method == "dense" else {"density": density}
        recipe = Recipe({**settings, **amount}, training, data="cifar10", width=width)
        return Row(f"{method}/{network}/{density}", recipe=recipe, seeds=1, deviation=deviation)

    yield row("dense", 1, CIFAR, name="dense")
    for density in densities:
        yield row("dropback", density, dropback.CIFAR, name="dropback")
        for method in ("snip", "espn", "magnitude"):
            yield row(method, density, CIFAR, FLOOR, floor=1, **METHODS[method])


def _surgery():
    """Dynamic network surgery states how far it compresses."""
    for network, times in (("lenet-300-100", 56), ("lenet-5-caffe", 108)):
        reason = f"arXiv 1608.04493 states {times}x fewer weights (recalled); a method that is not implemented here"
        yield Row(f"dns/{network}/{times}x", reason=reason)


def rows(declared: set[str]) -> tuple[Row, ...]:
    """`declared` : the keys of the papers' files."""
    return (*_table(declared), *_cifar(*VGG, (0.1,)), *_cifar(*RESNET, (0.1, 0.02)), *_surgery())
