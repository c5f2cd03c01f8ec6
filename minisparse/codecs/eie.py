"""EIE: the layout in which a processor multiplies by a clustered, gap-coded matrix without ever expanding it.

Rows are dealt to N processing elements, PE k has rows k, k + N, k + 2 N, ... Each holds its part of W by columns: for
each non-zero the index I of its value in a shared table S and the number z of zeros passed since the last entry of
the column, its own rows counted; while z >= 2^B a filler comes first, the index of zero with the run 2^B - 1. The
entries of column j are those from pointer p_j to p_{j+1}. Every non-zero activation a_j goes to all PEs, which do

    b_i <- b_i + S[I_ij] a_j    for their entries of column j                                          (1)

and columns of zero activations are passed over.

Source: S. Han, X. Liu, H. Mao, J. Pu, A. Pedram, M. Horowitz, W. Dally, 2016, arXiv 1602.01528, section 3.
"""

from typing import NamedTuple

import numpy as np

from minisparse._core import gaps as kernel


class Element(NamedTuple):
    """What one PE holds: index and run (entries,) uint32, pointers (I + 1,) int64."""

    index: np.ndarray
    run: np.ndarray
    pointers: np.ndarray


def interleave(w: np.ndarray, count: int, width: int = 4) -> tuple[list[Element], np.ndarray]:
    """The parts of `count` PEs, and S, zero first.

    Parameters
    ----------
    w : (O, I)
    width : B, bits of a run
    """
    table = np.append(w.dtype.type(0), np.unique(w[w != 0]))
    return [_element(w[k::count], table, width) for k in range(count)], table


def _element(rows: np.ndarray, table: np.ndarray, width: int) -> Element:
    index, run, pointers = [], [], [0]
    for column in rows.T:
        places = np.flatnonzero(column)
        symbols = kernel.to_symbols(places, width)
        filler = symbols == 1 << width
        run.append(np.where(filler, (1 << width) - 1, symbols))
        index.append(np.zeros(len(symbols), np.int64))
        index[-1][~filler] = np.searchsorted(table[1:], column[places]) + 1
        pointers.append(pointers[-1] + len(symbols))
    together = (np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.uint32) for parts in (index, run))
    return Element(*together, np.array(pointers))


def product(elements: list[Element], table: np.ndarray, a: np.ndarray, outputs: int) -> tuple[np.ndarray, int]:
    """b = W a (O,), and the entries that were looked at, fillers included, of all PEs."""
    b, work = np.zeros(outputs, np.result_type(table, a)), 0
    for k, (index, run, pointers) in enumerate(elements):
        for j in np.flatnonzero(a):
            entries = slice(pointers[j], pointers[j + 1])
            places = np.cumsum(run[entries].astype(np.int64) + 1) - 1
            b[k :: len(elements)][places] += table[index[entries]] * a[j]  # eq. 1
            work += len(places)
    return b, work
