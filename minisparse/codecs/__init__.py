"""Lossless codecs: values with `encode`, `decode` and a configuration; one file a codec."""

from minisparse.codecs.base import Codec
from minisparse.codecs.bitpack import Bitmap, Bitpack
from minisparse.codecs.codebook import Codebook
from minisparse.codecs.gaps import Gaps
from minisparse.codecs.huffman import Huffman
from minisparse.codecs.raw import Raw

__all__ = ["Bitmap", "Bitpack", "Codebook", "Codec", "Gaps", "Huffman", "Raw"]
