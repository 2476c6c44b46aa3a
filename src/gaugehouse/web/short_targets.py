"""The short way for a device that asks what to run: a million do so every few minutes, and nearly nothing has changed.

Its key is asked for together with others, what its project decided and what runs there is a second old at most, and
types and labels, where they decide, are one question for all that came meanwhile. Whoever is not plainly a device that
asks for itself goes the general way, which alone refuses things.
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Receive, Scope, Send

from gaugehouse.access import Caller
from gaugehouse.access import Scope as Right
from gaugehouse.errors import GaugehouseError
from gaugehouse.fleet.rollouts import UNDESCRIBED, Described
from gaugehouse.fleet.targets import Plan, choose_target
from gaugehouse.runtime import Runtime
from gaugehouse.web.api import firmware, legacy_firmware
from gaugehouse.web.pace import Paces
from gaugehouse.web.standings import Standing, Standings
from gaugehouse.web.together import Summary, Together

ROUTES = {
    legacy_firmware.PATH: f"{legacy_firmware.PATH}/{{device_id}}/target",
    firmware.router.prefix: f"{firmware.router.prefix}/{{component}}/target",
}
TARGET = "/target"
REFRESHES_AT_ONCE = 4  # of different projects: the first look at a large fleet takes seconds
# A request with one of these says more than the short way understands.
TELLING_HEADERS = frozenset({b"authorization", b"api_key", b"content-length", b"transfer-encoding", b"expect"})

Asked = tuple[str, str]  # id of a project, name of a component


class ShortTargets:
    """Pure ASGI middleware.

    Args:
        app: The general way.
        runtime: What this process works with.
        paces: How fast its callers may ask.
        standings: Who they are.
    """

    def __init__(self, app: ASGIApp, *, runtime: Runtime, paces: Paces, standings: Standings) -> None:
        self._app = app
        self._runtime = runtime
        self._paces = paces
        self._standings = standings
        self._refreshing: dict[str, asyncio.Task[Plan]] = {}
        self._refreshes = CapacityLimiter(REFRESHES_AT_ONCE)
        self._described = Together(self._describe)
        self._describing = CapacityLimiter(1)
        self._summary = Summary("targets_served")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = monotonic()
        route, device, key = _find_question(scope)
        standing = None if key is None else await self._find_device(key, device, scope)
        if standing is None or not self._paces.admits_question(scope, standing.caller, standing.rates):
            await self._app(scope, receive, send)
            return
        answer = await self._find_answer(standing.caller, device)
        if answer is None:  # counted, and not counted again
            await self._app(scope, receive, send)
            return
        scope["state"] |= {"caller": standing.caller.name, "route": route, "is_summed": True}
        headers = [(b"content-length", b"%d" % len(answer)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        self._summary.add(monotonic() - started_s)

    async def _find_device(self, key: bytes, device: str, scope: Scope) -> Standing | None:
        """Return who a key stands for if that is known to be the device itself and it may ask."""
        standing = await self._standings.find(key, scope)
        if standing is None or standing.caller.component != device or not standing.caller.may(Right.FIRMWARE_READ):
            return None
        return standing

    async def _find_answer(self, caller: Caller, device: str) -> bytes | None:
        """Return what a device is told, None where something cannot be found out."""
        versions = self._runtime.versions
        plan = self._runtime.firmware_plans.recall(caller.project_id)
        if plan is None or not versions.is_current(caller.project):
            try:
                plan = await asyncio.shield(self._refresh(caller.project, caller.project_id))
            except GaugehouseError:
                return None
        described: Described | None = UNDESCRIBED
        if plan.looks_at_components:
            described = await asyncio.shield(self._described.put((caller.project_id, device)))
        if described is None:
            return None
        running = versions.recall(caller.project, device)
        version = None if running is None else running.version
        target = choose_target(plan, described.device(device, version))
        return firmware.show_target(device, version, target).model_dump_json().encode()

    def _refresh(self, project: str, project_id: str) -> "asyncio.Task[Plan]":
        """Return what asks for what a project decided and runs; all who need it wait for one."""
        known = self._refreshing.get(project_id)
        if known is not None and not known.done() and known.get_loop() is asyncio.get_running_loop():
            return known

        def ask() -> Plan:
            self._runtime.versions.find(project, "")
            return self._runtime.firmware_plans.get(project_id)

        asking = asyncio.create_task(run_sync(ask, limiter=self._refreshes))
        self._refreshing[project_id] = asking
        return asking

    async def _describe(self, asked: Sequence[Asked]) -> Mapping[Asked, Described]:
        return await run_sync(self._ask_inventory, asked, limiter=self._describing)

    def _ask_inventory(self, asked: Sequence[Asked]) -> dict[Asked, Described]:
        by_project: dict[str, list[str]] = {}
        for project_id, component in asked:
            by_project.setdefault(project_id, []).append(component)
        found: dict[Asked, Described] = {}
        for project_id, components in by_project.items():
            try:
                described = self._runtime.firmware_plans.describe(project_id, components)
            except GaugehouseError:
                continue
            found |= {(project_id, component): one for component, one in described.items()}
        return found


def _find_question(scope: Scope) -> tuple[str, str, bytes | None]:
    """Return route, device and API key of what could be a short question; no key for everything else."""
    nothing = ("", "", None)
    if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
        return nothing
    path = scope["path"]
    prefix = next((prefix for prefix in ROUTES if path.startswith(f"{prefix}/")), None)
    if prefix is None or not path.endswith(TARGET):
        return nothing
    device = path[len(prefix) + 1 : -len(TARGET)]
    if not device or "/" in device:
        return nothing
    key: bytes | None = None
    for name, value in scope["headers"]:
        if name in TELLING_HEADERS or (name == b"x-api-key" and key is not None):
            return nothing
        if name == b"x-api-key":
            key = value
    return ROUTES[prefix], device, key
