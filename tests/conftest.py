"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

from minisparse.compressed import CompressedModel

settings.register_profile("everyday", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile("everyday")  # `pytest --hypothesis-profile deep` overrides it


@pytest.fixture(autouse=True, scope="session")
def _every_model_that_is_written_is_accounted_for():
    """The ledger of each file that any test saves adds up to its size on disk."""
    with pytest.MonkeyPatch.context() as patch:
        save = CompressedModel.save

        def checked(self, path):
            size = save(self, path)
            assert sum(row["bytes"] for row in self.ledger()) == size == os.stat(path).st_size
            return size

        patch.setattr(CompressedModel, "save", checked)
        yield
