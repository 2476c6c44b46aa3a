"""A client for the small applications of these tests."""

import pytest

from asgi_client import Client


@pytest.fixture
def client(app):
    return Client(app)
