"""A small synchronous client over ASGI: no socket, no server thread."""

import asyncio

import httpx


class Client:
    """Calls an ASGI application; every call has its own event loop."""

    def __init__(self, app, headers=None):
        self._app = app
        self.headers = dict(headers or {})

    def request(self, method, path, *, headers=None, **kwargs):
        return asyncio.run(self._call(method, path, headers=headers, **kwargs))

    async def _call(self, method, path, *, headers=None, **kwargs):
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=self.headers | (headers or {}), **kwargs)

    def with_headers(self, **headers):
        """Return a client that sends these headers too; `_` stands for `-`."""
        return Client(self._app, self.headers | {name.replace("_", "-"): text for name, text in headers.items()})

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, **kwargs):
        return self.request("POST", path, **kwargs)

    def put(self, path, **kwargs):
        return self.request("PUT", path, **kwargs)

    def patch(self, path, **kwargs):
        return self.request("PATCH", path, **kwargs)

    def delete(self, path, **kwargs):
        return self.request("DELETE", path, **kwargs)

    def options(self, path, **kwargs):
        return self.request("OPTIONS", path, **kwargs)
