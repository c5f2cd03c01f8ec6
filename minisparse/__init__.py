"""Neural networks on a weight budget."""
from pathlib import Path

# In a checkout `_core` and `datasets` stand beside this folder; an installed package holds them inside.
if not Path(__file__).with_name("_core").exists():
    __path__.append(str(Path(__file__).parents[1]))

__version__ = "0.1.0"
