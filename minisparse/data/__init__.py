"""Data sets: found, checked, split, normalised, and handed out in batches with the batch last."""

from minisparse.data.batches import Batches
from minisparse.data.dataset import Dataset, Split, from_arrays
from minisparse.data.loader import load
from minisparse.data.sources import DATASETS

__all__ = ["DATASETS", "Batches", "Dataset", "Split", "from_arrays", "load"]
