import logging

import pytest
import structlog


@pytest.fixture
def restored_logging():
    """Let a test configure logs, and take that back."""
    root, ours = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**ours)
