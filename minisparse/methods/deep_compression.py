"""Deep Compression: prune, share values, code - and retrain in between.

A trained network is stored three times too generously. One redundancy goes after the other:

    pruning        train; then, in rounds, cut the small weights and retrain those that stay   (prune_retrain.py)
    sharing        cluster each layer's survivors by k-means and train what they share         (trained_quantisation.py)
    coding         Huffman codes of the indices and of the gaps between non-zeros; no loss     (minisparse.compress)

Sharing begins at `share_at` of the run, when the last round of retraining has gone through its learning rates, and
goes through them again at `tune` times their height.

Stored: per layer 2^b levels at most, one index and one gap a non-zero weight; all biases and gains.
Suggested: three rounds; 6 bits for linear layers, 8 for convolutions.
Measured, test errors on MNIST, 5 seeds: lenet-300-100 1.04 % (1.00 to 1.09) in 24,191 bytes, lenet-5-caffe 0.74 %
(0.66 to 0.80) in 42,779.
Does not help: against methods that learn masks or levels beside the weights, at the same number of epochs.

Source: S. Han, H. Mao, W. Dally, 2016, arXiv 1510.00149.
Differs from the paper: one threshold for all layers, which follows from the budget; codes as the file has them
(docs/FORMAT.md), arithmetic ones where they are shorter. `compress` can be held to the paper's codecs, and
codecs/relative.py is the paper's own format with its count of bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from minisparse.methods.prune_retrain import PruneRetrain
from minisparse.methods.trained_quantisation import STARTS, TrainedQuantisation
from minisparse.settings import check, setting


@dataclass(frozen=True)
class DeepCompression(PruneRetrain):
    """Prune and retrain in rounds, then cluster the survivors and train what they share.

    Parameters
    ----------
    share_at : progress at which the weights are clustered
    tune : factor on the learning rate from then on
    bits, conv_bits, centroids : as for TrainedQuantisation
    """

    name: ClassVar[str] = "deep-compression"

    rounds: int = setting(3, "times that the network is pruned and retrained, >= 1")
    share_at: float = setting(0.9, "progress in (cut_at, 1] at which the weights are clustered")
    tune: float = setting(1e-3, "factor on the learning rate from then on, for the shared values, >= 0")
    bits: int = setting(6, "2^bits values a layer at most, 1 to 16")
    conv_bits: int = setting(8, "the same of convolutions")
    centroids: str = setting("linear", "where the centroids start", STARTS)

    def __post_init__(self):
        super().__post_init__()
        check(self.cut_at < self.share_at <= 1, "share_at", self.share_at, f"must lie in (cut_at={self.cut_at}, 1]")
        self.sharing  # noqa: B018 - checks the other settings

    @property
    def sharing(self) -> TrainedQuantisation:
        """The second half."""
        return TrainedQuantisation(self.share_at, self.bits, self.conv_bits, self.centroids, self.tune)

    def last_step(self, run):
        return self.sharing.first(run)

    def pace(self, run):
        first, settings = self.last_step(run), run.settings
        if run.step < first:
            return super().pace(run)
        return settings.learning_rate((run.step - first) / (run.total_steps - first)), settings.weight_decay

    def pullback(self, p, g, cache):
        return self.sharing.pullback(p, g, cache)

    def after_step(self, run):
        super().after_step(run)
        self.sharing.after_step(run)

    def finish(self, run):
        self.sharing.finish(run)

    @classmethod
    def examples(cls):
        return [cls(density=0.3, cut_at=0.3, share_at=0.8, bits=3), cls(budget=60, floor=3, share_at=1.0, rounds=1)]
