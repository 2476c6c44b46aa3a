"""WebSocket connections as uvicorn has them, but for how they end: no slow reader can keep one open."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

MESSAGE_LIMIT_BYTES = 64 * 1024  # of one message to us
LINGER_S = 5.0  # who was let go has this long to take what is written
SHUTDOWN_S = 3.0  # the application says goodbye by then


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose application can let go of a reader that takes nothing."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state | {"let_go": self.let_go}, _loop)
        self._linger_timer: asyncio.TimerHandle | None = None

    def let_go(self) -> None:
        """Write what is left without waiting for the reader, and cut the connection if it does not take it."""
        self.writable.set()
        if self._linger_timer is None:
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Leave it to the application to say why; close what it has not closed soon."""
        self.loop.call_later(SHUTDOWN_S, self._close_late)

    def _close_late(self) -> None:
        if not self.disconnected:
            super().shutdown()
            self.let_go()
