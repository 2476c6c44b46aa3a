"""How a command reaches the owner of a lake: through its socket, or by being the owner when nobody is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from gaugehouse.config import Layout, Settings
from gaugehouse.errors import NotFound, Unavailable
from gaugehouse.lake import is_locked
from gaugehouse.lake.control import NobodyAnswers, Progress, ask_owner
from gaugehouse.lake.live import LiveFacts
from gaugehouse.logs import configure_logs

Ask = Callable[[str, Mapping[str, Any]], Any]
FLUSH_S = 600.0


def require_installation(settings: Settings) -> Layout:
    """Return where an installation lives.

    Raises:
        NotFound: there is none.
    """
    layout = Layout(settings.data_dir)
    if not layout.log_dir.exists():
        raise NotFound(f"there is no installation in {settings.data_dir}", code="no_installation")
    return layout


def is_owned(layout: Layout) -> bool:
    """Say whether some process owns the lake right now."""
    return is_locked(layout.data_dir / "LOCK")


def ask_running(layout: Layout, report: Progress) -> Ask:
    """Return what asks the running owner.

    The function raises Unavailable when the holder of the lock does not answer, and what the owner says.
    """

    def ask(do: str, given: Mapping[str, Any]) -> Any:
        try:
            return ask_owner(layout.run_dir, do, given, report)
        except NobodyAnswers as exc:
            pid = (layout.data_dir / "LOCK").read_text("ascii", "replace").strip() or "unknown"
            raise Unavailable(
                f"process {pid} owns this lake and does not answer: it is starting or stopping; try again",
                code="owner_silent",
            ) from exc

    return ask


def live_asker(layout: Layout) -> Callable[[], LiveFacts]:
    """Return what asks the running owner for a moment of its memory."""
    ask = ask_running(layout, lambda _doing, _done, _total: None)
    return lambda: msgspec.convert(ask("status", {}), LiveFacts)


@contextmanager
def owner(settings: Settings, report: Progress) -> Iterator[Ask]:
    """Give what asks the owner of an installation, which is this process when nobody else is.

    Raises:
        NotFound: there is no installation.
        StartRefused: the lake cannot be opened.
    """
    layout = require_installation(settings)
    if is_owned(layout):
        yield ask_running(layout, report)
        return
    # Only who becomes the owner needs database, accounts and all: asking starts in half the time without them.
    from gaugehouse.runtime import open_runtime  # noqa: PLC0415 - see above
    from gaugehouse.upkeep import answers  # noqa: PLC0415 - see above

    configure_logs(settings, layout.logs_dir, to_stdout=False, file_name="commands.log")
    runtime = open_runtime(settings, report)
    try:
        known = answers(runtime)
        yield lambda do, given: msgspec.to_builtins(known[do](given, report))
    finally:
        runtime.close(flush_timeout_s=FLUSH_S)
