"""Settings of all tests."""

import os

from hypothesis import settings

settings.register_profile("everyday", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile("everyday")  # `pytest --hypothesis-profile deep` overrides it
