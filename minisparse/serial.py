"""Mini-batch serialisation: forward, loss and backward of a batch, group by group of layers, in sub-batches.

    group g runs sub-batch after sub-batch of its own size B_g; only what crosses its border is held for the batch   (1)
    dL/dw = sum over sub-batches of dL/dw                                                                            (2)

Where every layer treats each sample alone (group normalisation rather than batch normalisation), eq. 2 is the gradient
of the whole batch up to the order of its sums, for any groups and any sub-batches.

Source: Lym et al., 2019 (arXiv 1810.00307). **Differs from the paper:** what a group's backward pass needs is computed
again from its input, one sub-batch at a time, where the paper's machine writes it to DRAM and reads it back: that takes
a further forward pass of all groups but the last, and is what makes the peak memory lower on a processor, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minisparse.cost.mbs import Serialisation
from minisparse.cost.shapes import table
from minisparse.layers import BatchNorm, Dropout, Layer, Sequential
from minisparse.loss import softmax_cross_entropy
from minisparse.model import Model


@dataclass(frozen=True)
class Group:
    """Consecutive layers, and how many samples run through them at a time."""

    net: Layer
    batch: int


def fitting(model: Model, batch: int, buffer: int) -> list[Group]:
    """Groups whose activations fit in `buffer` bytes, with the least traffic (`cost/mbs.py`); 0 is one for all.

    Raises
    ------
    ValueError : a layer's result for a sample depends on its batch.
    """
    if not buffer:
        return [Group(model.net, batch)]
    bits = 8 * np.dtype(model.dtype).itemsize
    plan = Serialisation(table(model), buffer, batch, bits)
    best = plan.optimal()
    sizes = [-(-batch // n) for n in best.iterations]
    return split(model, [plan.units[group.start].name for group in best.groups], sizes)


def split(model: Model, firsts: Sequence[str], sizes: Sequence[int]) -> list[Group]:
    """Groups that begin with these layers of the model's outermost sequence, and run `sizes` samples at a time.

    Raises
    ------
    ValueError : firsts is not the first layer and further ones in their order, a size < 1, or a layer's result for a
        sample depends on its batch.
    """
    names = list(model.net.layers) if isinstance(model.net, Sequential) else []
    places = [names.index(name) for name in firsts if name in names]
    if len(places) != len(firsts) or places[:1] != [0] or places != sorted(set(places)):
        raise ValueError(f"firsts={list(firsts)} must be {names[:1]} and further ones of {names}, in this order")
    if len(sizes) != len(firsts) or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)} must be a number of samples, at least 1, for each of {len(firsts)} groups")
    for path, layer in model.net.named_layers():
        if isinstance(layer, BatchNorm) or isinstance(layer, Dropout) and layer.p:
            raise ValueError(
                f"{path} ({type(layer).__name__}) looks at the whole batch, which sub-batches never are: use GroupNorm "
                "(gnresnet-20 has it) and no dropout, or leave buffer=0"
            )
    ends = [*places[1:], len(names)]
    nets = [Sequential({name: model.net.layers[name] for name in names[a:b]}) for a, b in zip(places, ends, strict=True)]
    return [Group(net, size) for net, size in zip(nets, sizes, strict=True)]


def backpropagate(groups: Sequence[Group], x: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    """The loss of a batch; the gradient of every parameter is added to what it holds.

    Parameters
    ----------
    groups : of layers, in the order of the forward pass
    x : (C, H, W, N) or (I, N)
    labels : (N,)
    smoothing : of labels, in [0, 1)
    """
    return _through(groups, x, labels, smoothing, None)


def _through(groups, x, labels, smoothing, dx: np.ndarray | None) -> float:
    """The loss behind these groups, and its gradient in dx unless that is None."""
    (group, *later), loss = groups, 0.0
    parts = [slice(i, min(i + group.batch, x.shape[-1])) for i in range(0, x.shape[-1], group.batch)]
    if later:
        y = np.concatenate([group.net.forward(_part(x, part), training=True)[0] for part in parts], axis=-1)
        dy = np.empty_like(y)
        loss = _through(later, y, labels, smoothing, dy)
        del y
    for part in parts:
        y, cache = group.net.forward(_part(x, part), training=True)
        if later:
            slope = _part(dy, part)
        else:
            its_loss, slope = softmax_cross_entropy(y, labels[part], smoothing)
            share = len(labels[part]) / len(labels)
            loss, slope = loss + share * its_loss, share * slope
        if dx is None:
            group.net.accumulate(slope, cache)
        else:
            dx[..., part] = group.net.backward(slope, cache)
    return loss


def _part(x: np.ndarray, part: slice) -> np.ndarray:
    """Samples of a batch; the batch itself where these are all."""
    return x if part == slice(0, x.shape[-1]) else np.ascontiguousarray(x[..., part])
