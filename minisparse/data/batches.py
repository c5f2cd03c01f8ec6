"""The batches of training: a pure function of (seed, epoch, step)."""

import numpy as np

from minisparse import rng
from minisparse.data.augment import crop_and_flip, shift
from minisparse.data.dataset import Split


class Batches:
    """Batches of one size in an order that changes each epoch.

    An epoch visits the samples in the order of the stream (seed, "batches", epoch). Samples at its end that do
    not fill a batch are left out of that epoch; the next one leaves out others. `len()` is the steps an epoch.

    Parameters
    ----------
    split : what is trained on
    batch_size : samples a batch, 1 to len(split)
    seed : in [0, 2^63)
    augment : crop and flip images at random, by the stream (seed, "augment", epoch, step)
    shift : without `augment`, shift images at random by at most this many pixels, by the same stream

    Raises
    ------
    ValueError : batch_size out of range, or augment or shift for samples that are not (C, H, W).
    """

    def __init__(self, split: Split, batch_size: int, seed: int, augment: bool = False, shift: int = 0):
        if not 1 <= batch_size <= len(split):
            raise ValueError(f"batch_size={batch_size} must lie in 1 to {len(split)}, the number of samples")
        if (augment or shift) and split.x.ndim != 4:
            setting = "augment=True" if augment else f"shift={shift}"
            raise ValueError(f"{setting} needs images (C, H, W), not samples of shape {split.x.shape[1:]}")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.shift = shift
        self._order = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """The samples in the order this epoch visits them: (N,) int64."""
        if epoch < 0:
            raise ValueError(f"epoch={epoch} must be 0 or more")
        if self._order[0] != epoch:
            self._order = (epoch, rng.Stream(self.seed, "batches", epoch).permutation(len(self.split)))
        return self._order[1]

    def batch(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """x (C, H, W, n) or (I, n) float32, C-contiguous, and their labels (n,) int64.

        Raises
        ------
        ValueError : epoch or step out of range.
        """
        if not 0 <= step < len(self):
            raise ValueError(f"step={step} must lie in 0 to {len(self) - 1}")
        index = self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]
        labels = self.split.labels[index]
        if not self.augment and not self.shift:
            return self.split.batch_last(index), labels
        raw, stream = self.split.x[index], rng.Stream(self.seed, "augment", epoch, step)
        raw = crop_and_flip(raw, stream) if self.augment else shift(raw, stream, self.shift)
        return self.split.batch_last(np.arange(len(raw)), raw), labels
