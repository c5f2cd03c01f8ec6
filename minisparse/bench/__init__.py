"""Side-by-side measurements against other libraries: `minisparse bench`."""

from minisparse.bench.base import Benchmark
from minisparse.bench.conv import Conv
from minisparse.bench.huffman import Huffman
from minisparse.bench.quant import Quant
from minisparse.bench.regen import Regen
from minisparse.bench.spmm import Spmm
from minisparse.bench.topk import TopK
from minisparse.bench.train import Train

BENCHES: dict[str, type[Benchmark]] = {
    "spmm": Spmm,
    "conv": Conv,
    "regen": Regen,
    "topk": TopK,
    "quant": Quant,
    "huffman": Huffman,
    "train": Train,
}
