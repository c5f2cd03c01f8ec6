"""Lengths of an optimal prefix code of limited length, by package-merge; `_core/huffman_ref.py` makes codes of them.

Source: Huffman (1952); Larmore and Hirschberg (1990), package-merge.
"""

import numpy as np

LIMIT = 15
"""Longest code, so that a length fits four bits."""


def code_lengths(counts: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Lengths of an optimal prefix code with no code above `limit` bits, by package-merge.

    Parameters
    ----------
    counts : (A,) int64 >= 0, at least two of them positive

    Returns
    -------
    (A,) int64; 0 for absent symbols; ties are settled by symbol, so counts alone decide

    Raises
    ------
    ValueError : fewer than two symbols occur, or more than 2^limit.
    """
    present = np.flatnonzero(counts)
    n = len(present)
    if not 2 <= n <= 2**limit:
        raise ValueError(f"counts holds {n} symbols that occur: a code of {limit} bits needs 2 to {2**limit}")
    order = present[np.argsort(counts[present], kind="stable")]
    leaves = counts[order].astype(np.int64)
    packages, levels = leaves[:0], []
    for _ in range(min(limit, n - 1)):
        merged = np.concatenate([leaves, packages])
        rank = np.argsort(merged, kind="stable")
        merged = merged[rank]
        levels.append(rank < n)
        # consecutive pairs; an odd last item is dropped
        packages = merged[: len(merged) // 2 * 2].reshape(-1, 2).sum(axis=1)
    lengths, taken = np.zeros(len(counts), np.int64), 2 * n - 2
    for is_leaf in reversed(levels):
        # l_s = the number of taken items that hold s; a taken package is two items of the level below
        number = np.count_nonzero(is_leaf[:taken])
        lengths[order[:number]] += 1
        taken = 2 * (taken - number)
    return lengths
