"""Gradients before training: on which samples, and in which state of the network, connections are scored.

Samples are drawn in turn from every class, so that no class's inputs look dead. Normalisations use the statistics of
the batch, since their running ones have seen nothing yet, and dropout is off; the model's values, gradients and
buffers are afterwards as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from minisparse.data import Split
from minisparse.layers import Dropout
from minisparse.loss import softmax_cross_entropy
from minisparse.model import Model
from minisparse.rng import Stream


def scoring_batch(split: Split, seed: int, number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Batch `number` of `size` samples, classes in turn: x (..., size) float32 and labels (size,).

    After all samples have been given out, they come again in the same order.
    """
    order = Stream(seed, "scoring").permutation(len(split))
    rank = np.empty(len(split), np.int64)  # how many of its class stand before each sample
    for label in np.unique(split.labels):
        of_class = np.flatnonzero(split.labels[order] == label)
        rank[of_class] = np.arange(len(of_class))
    in_turn = order[np.argsort(rank, kind="stable")]
    index = in_turn.take(np.arange(number * size, (number + 1) * size), mode="wrap")
    return split.batch_last(index), split.labels[index]


def gradients(model: Model, x: np.ndarray, labels: np.ndarray, weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """dL/dw at these weights, by name, with the model's own values for all other parameters."""
    with holding(model, weights):
        logits, caches = model.forward(x.astype(model.dtype, copy=False), training=True)
        _, dlogits = softmax_cross_entropy(logits, labels)
        model.backward(dlogits, caches)
        return [model.parameters[name].store.grad for name in weights]


@contextmanager
def holding(model: Model, weights: Mapping[str, np.ndarray]) -> Iterator[None]:
    """The model with these weights, by name, gradients of 0 of their dtype, and no dropout; then as it was."""
    stores = [p.store for p in model.parameters.values()]
    held = [(store.values, store.grad) for store in stores]
    buffers = {name: array.copy() for name, array in model.buffers.items()}
    dropouts = [(layer, layer.p) for _, layer in model.net.named_layers() if isinstance(layer, Dropout)]
    try:
        for name, p in model.parameters.items():
            p.store.values = weights.get(name, p.store.values)
            p.store.grad = np.zeros(p.store.values.shape, np.result_type(p.store.values, *weights.values()))
        for layer, _ in dropouts:
            layer.p = 0.0
        yield
    finally:
        for store, (values, grad) in zip(stores, held, strict=True):
            store.values, store.grad = values, grad
        for name, array in model.buffers.items():
            array[...] = buffers[name]
        for layer, p in dropouts:
            layer.p = p
