"""The record runs: the smallest files at the error of the smallest networks on record.

Methods composed: ESPN finds few places while the network is dense, quantised sparse training then rounds what is left
to seven magnitudes a tensor, biases to four bits, and the file codes places and levels by adaptive models where that is
shortest. Bytes are of the whole file. What deep_compression.py quotes is what there is to beat.

How the settings were chosen: by validation errors and bytes of lenet-300-100. Density 0.015, seed 0: 3.00 % in 3,584
bytes with three magnitudes and 60 epochs, 2.78 in 3,673 with 120; 2.46 in 4,346 with seven magnitudes and 60 epochs,
where ESPN alone has 2.42; 1.96 in 4,372 with 120. Density 0.01, three magnitudes, 60 epochs: 3.44 in 2,652. Seven
magnitudes and 120 epochs, seeds 0 and 1: density 0.017 1.94 and 1.72 in 4,848 bytes, 0.02 1.78 and 1.66 in 5,509.
Quantised sparse training from scratch is less even: three magnitudes at density 0.024, 60 epochs, gave 1.86 in 5,063,
at 0.02, 120 epochs, 3.72 in 4,083.
"""

from minisparse.reproduce.espn import SEARCH, TRAINING
from minisparse.reproduce.rows import Recipe, Row


def smallest(network: str, density: float, levels: int) -> Recipe:
    """ESPN until half of the run, then its places fine-tuned, and from three quarters on rounded."""
    search = {"name": "espn", "density": density, **SEARCH[network], "end": 0.5}
    rounding = {"name": "quantised-sparse", "density": density, "levels": levels, "others": 4, "floor": 1}
    rounding |= {"begin": 0.75, "end": 0.76, "freeze": 0.77}
    method = {"name": "compose", "methods": [search, rounding]}
    return Recipe(method, TRAINING[network], standardised=True)


ROWS = (Row("record/lenet-300-100", None, smallest("lenet-300-100", 0.017, 7), accept=1.9, accept_bytes=7_000),)
