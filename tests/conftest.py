"""For all tests."""

import structlog
from hypothesis import settings

# The first example of many tests compiles a kernel, and machines are busy: how long things take, benchmarks measure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What crashes in a test is told in a plain traceback: the one with all local variables takes a second each.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
