"""For all tests."""

from hypothesis import settings

# The first example of many tests compiles a kernel, and machines are busy: how long things take, benchmarks measure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
