"""Lossless codecs: values with `encode`, `decode` and a configuration; one file a codec."""

from minisparse.codecs.arithmetic import Adaptive, Arithmetic
from minisparse.codecs.base import Codec, MaskCodec
from minisparse.codecs.bitpack import Bitmap, Bitpack
from minisparse.codecs.codebook import Codebook
from minisparse.codecs.gaps import Gaps
from minisparse.codecs.huffman import Huffman
from minisparse.codecs.multiples import Multiples
from minisparse.codecs.raw import Raw
from minisparse.codecs.split import Split

__all__ = [
    "Adaptive",
    "Arithmetic",
    "Bitmap",
    "Bitpack",
    "Codebook",
    "Codec",
    "Gaps",
    "Huffman",
    "MaskCodec",
    "Multiples",
    "Raw",
    "Split",
]
