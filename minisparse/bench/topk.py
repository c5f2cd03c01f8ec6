"""Exact selection of the k largest of 10 million scores against NumPy's and PyTorch's."""

import numpy as np

from minisparse._core import topk, topk_ref
from minisparse.bench.base import Benchmark, normal
from minisparse.bench.harness import Contestant, Expected, mean_ratio, ratio

SCORES = 10_000_000
PERCENT = (1, 3, 10)


class TopK(Benchmark):
    peer_names = ("torch", "threadpoolctl")
    budget_s = 5.0
    notes = (
        "Normal float32 scores. ours gives a mask, with ties settled by index; numpy_argpartition and torch "
        "(torch.topk, unsorted) give indices; numpy_partition is our NumPy twin: a threshold, then a mask.",
        "vs_argpartition: geometric mean over k of numpy.argpartition's time over ours; vs_best_peer: the same with "
        "the fastest of all.",
    )

    def grid(self):
        size = 100_000 if self.quick else SCORES
        return [{"scores": size, "k": size * percent // 100, "percent": percent} for percent in PERCENT]

    def case(self, labels):
        return "{percent} % of {scores:,}".format(**labels)

    def contestants(self, scores, k, percent):
        flat = normal("scores", scores)
        # ties make the places ambiguous, never the selected values
        expected = Expected(np.sort(flat)[scores - k :])

        def selected(places):
            return np.sort(flat[np.asarray(places)])

        entrants = {
            "ours": Contestant(lambda: topk.topk([flat], k), expected, lambda masks: selected(masks[0])),
            "numpy_argpartition": Contestant(
                lambda: np.argpartition(flat, scores - k)[scores - k :], expected, selected
            ),
            "numpy_partition": Contestant(lambda: topk_ref.topk([flat], k), expected, lambda masks: selected(masks[0])),
        }
        if torch := self.peers.get("torch"):
            tensor = torch.from_numpy(flat)
            entrants["torch"] = Contestant(lambda: torch.topk(tensor, k, sorted=False).indices, expected, selected)
        return entrants, {"bytes": flat.nbytes}

    def summary(self, rows):
        peers = ["numpy_argpartition", "numpy_partition", "torch"]
        return {
            "vs_argpartition": mean_ratio(rows, peers[:1]),
            "vs_argpartition_min": min(ratio(rows, peers[:1]), default=None),
            "vs_best_peer": mean_ratio(rows, peers),
        }
