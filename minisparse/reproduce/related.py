"""The baselines, in one table on MNIST, and the methods side by side on CIFAR-10.

No paper states these figures for these networks under one training: there is nothing to compare with but each
other. Each of a network's rows on MNIST is trained as SNIP's are, unless its method asks for training of its own.
Densities are of the weights, DropBack's of all values, biases included.
"""

from minisparse.reproduce import dropback, espn
from minisparse.reproduce.rows import Recipe, Row
from minisparse.reproduce.snip import on_mnist
from minisparse.run import TrainSettings

NETWORKS = ("lenet-300-100", "lenet-5-caffe")
DENSITIES = (0.05, 0.02, 0.01)
METHODS = {
    "random": {},
    "magnitude-init": {},
    "snip": {},
    "iterative-snip": {},
    "force": {},
    "grasp": {},
    "prune-retrain": {},
    "magnitude": {"begin": 0.1, "end": 0.6},
    "lottery": {"rounds": 5},
    "espn": {},
    "espn-rewind": {},
    "dropback": {},
}
"""A method's name -> its settings, density apart."""
CIFAR = TrainSettings(epochs=6, batch=64, lr=0.1, schedule="cosine", momentum=0.9, weight_decay=5e-4, augment=True)
VGG, RESNET = ("vgg16", 0.25), ("resnet-20", 0.5)
"""Widths at which a run takes less than 20 minutes on two cores."""
FLOOR = "every layer keeps at least one weight, where one global cut could empty it"


def _baseline(method: str, network: str, density: float) -> Row:
    if method == "dropback":
        training = dropback.CONV if network == "lenet-5-caffe" else dropback.MNIST
        recipe = dropback.dropback(density, training)
    elif method.startswith("espn"):
        recipe = espn.espn(method, network, density)
    else:
        recipe = on_mnist(method, network, density=density, **METHODS[method])
    return Row(f"{method}/{network}/{density}", recipe=recipe, seeds=3)


def _table(declared: set[str]):
    """Every cell that no paper's file has declared."""
    for network in NETWORKS:
        for method in METHODS:
            for density in DENSITIES:
                row = _baseline(method, network, density)
                if row.key not in declared:
                    yield row


def _cifar(network: str, width: float, densities: tuple[float, ...]):
    def recipe(method: str, training: TrainSettings, **settings) -> Recipe:
        return Recipe({"name": method, **settings}, training, data="cifar10", width=width)

    yield Row(f"dense/{network}/1", recipe=recipe("dense", CIFAR), seeds=1)
    for density in densities:
        yield Row(f"dropback/{network}/{density}", recipe=recipe("dropback", dropback.CIFAR, density=density), seeds=1)
        for method in ("snip", "espn", "magnitude"):
            pruned = recipe(method, CIFAR, density=density, floor=1, **METHODS[method])
            yield Row(f"{method}/{network}/{density}", recipe=pruned, seeds=1, deviation=FLOOR)


def _surgery():
    """Dynamic network surgery states how far it compresses."""
    for network, times in (("lenet-300-100", 56), ("lenet-5-caffe", 108)):
        reason = f"arXiv 1608.04493 states {times}x fewer weights (recalled); a method that is not implemented here"
        yield Row(f"dns/{network}/{times}x", reason=reason)


def rows(declared: set[str]) -> tuple[Row, ...]:
    """`declared` : the keys of the papers' files."""
    return (*_table(declared), *_cifar(*VGG, (0.1,)), *_cifar(*RESNET, (0.1, 0.02)), *_surgery())
