"""The record runs: the smallest files at the error of the smallest networks on record.

Methods composed: ESPN finds few places while the network is dense, quantised sparse training then rounds what is left
to seven magnitudes a tensor, biases to four bits, and the file codes places and levels by adaptive models where that is
shortest. A little weight decay takes biases to zero that nothing depends on. Bytes are of the whole file. What
deep_compression.py quotes is what there is to beat.

How the settings were chosen: by validation errors and bytes, in format version 1 for lenet-300-100, which takes some
200 more. Density 0.015, seed 0: 3.00 % in 3,584 bytes with three magnitudes and 60 epochs, 2.78 in 3,673 with 120; 2.46
in 4,346 with seven magnitudes and 60 epochs, where ESPN alone has 2.42; 1.96 in 4,372 with 120. Density 0.01, three
magnitudes, 60 epochs: 3.44 in 2,652. Seven magnitudes and 120 epochs, seeds 0 and 1: density 0.017 1.94 and 1.72 in
4,848 bytes, 0.02 1.78 and 1.66 in 5,509. Quantised sparse training from scratch is less even: three magnitudes at
density 0.024, 60 epochs, gave 1.86 in 5,063, at 0.02, 120 epochs, 3.72 in 4,083.
lenet-5-caffe, seed 0: seven magnitudes and biases of four bits, density 0.004, 30 epochs, without weight decay: 1.16 %
in 2,533 bytes; density 0.003, 60 epochs: 1.04 in 2,047. Biases of three bits: seven magnitudes, density 0.0026, 80
epochs: 1.30 in 1,805; five magnitudes: density 0.0035, 40 epochs, 1.30 in 2,135; 0.0028, 100 epochs, 1.30 in 1,858;
0.0025, 80 epochs, 1.28 in 1,689.
"""

from dataclasses import replace

from minisparse.reproduce.espn import SEARCH, TRAINING
from minisparse.reproduce.rows import Recipe, Row


def smallest(network: str, density: float, levels: int, **training: float) -> Recipe:
    """ESPN until half of the run, then its places fine-tuned, and from three quarters on rounded."""
    search = {"name": "espn", "density": density, **SEARCH[network], "end": 0.5}
    rounding = {"name": "quantised-sparse", "density": density, "levels": levels, "others": 4, "floor": 1}
    rounding |= {"begin": 0.75, "end": 0.76, "freeze": 0.77}
    method = {"name": "compose", "methods": [search, rounding]}
    return Recipe(method, replace(TRAINING[network], **training), standardised=True)


LENET_5 = smallest("lenet-5-caffe", 0.003, 7, epochs=60, weight_decay=1e-5)
ROWS = (
    Row("record/lenet-300-100", None, smallest("lenet-300-100", 0.017, 7), accept=1.9, accept_bytes=7_000),
    Row("record/lenet-5-caffe", None, LENET_5, accept=1.0, accept_bytes=2_299),
)
