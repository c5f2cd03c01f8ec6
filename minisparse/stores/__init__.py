"""Ways of holding a weight; a layer sees only the operator (base.py)."""

from minisparse.stores.base import Store
from minisparse.stores.convolution import Geometry
from minisparse.stores.dense import DenseStore, put_at_rest
from minisparse.stores.regenerated import RegeneratedStore
from minisparse.stores.sparse import SparseStore

__all__ = ["DenseStore", "Geometry", "RegeneratedStore", "SparseStore", "Store", "put_at_rest"]
