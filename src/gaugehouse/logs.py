"""Structured logs: one JSON line per fact, to stdout and to a rotating file."""

import logging
import logging.handlers
import re
import sys
from pathlib import Path
from typing import Any

import structlog

from gaugehouse.config import Settings
from gaugehouse.tracing import current_trace_id

CHATTY_LIBRARIES = ("alembic", "uvicorn", "httpx", "httpcore", "numba")  # their INFO says what ours says better
REDACTED_KEYS = frozenset({"password", "token", "authorization", "api_key", "secret", "cookie", "refresh_token"})
# Keys, one-time links, refresh tokens, cookies and JWTs, wherever they stand: in a path, or in an exception.
SECRETS = re.compile(r"gh[klrs]_[0-9A-Za-z]{8,}|eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*\.[0-9A-Za-z_-]*")


def _redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: "***" if key in REDACTED_KEYS else _without_secrets(value) for key, value in event.items()}


def _without_secrets(value: object) -> object:
    """Return what stands in a field without what inner fields of these names say."""
    if isinstance(value, dict):
        return {key: "***" if key in REDACTED_KEYS else _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if type(value) in {list, tuple} else value  # type: ignore[attr-defined]


def _mask(_logger: object, _method: str, line: str) -> str:
    """Return a line without what looks like a secret, however deep it stood in a field; the last thing that is done."""
    return SECRETS.sub("***", line) if "gh" in line or "eyJ" in line else line


def _name_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    trace_id = current_trace_id()
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event


def configure_logs(
    settings: Settings, log_dir: Path | None = None, *, to_stdout: bool = True, file_name: str = "gaugehouse.log"
) -> None:
    """Send every log line, ours and our libraries', as JSON to stdout and to a rotating file.

    Each process has a file of its own: two that rotated one file would lose lines.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _redact,
        _name_trace,
    ]

    def formatter(*rendering: Any) -> logging.Formatter:
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )

    as_json = formatter(structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), _mask)
    handlers: list[logging.Handler] = []
    if to_stdout:
        terminal = logging.StreamHandler(sys.stdout)
        # People read a terminal, programs read a pipe.
        # A plain traceback, and masked: the one that structlog would choose shows the local variables of every frame.
        shown = structlog.dev.ConsoleRenderer(
            timestamp_key="at", pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
        )
        as_text = formatter(structlog.processors.format_exc_info, shown, _mask)
        terminal.setFormatter(as_text if sys.stdout.isatty() else as_json)
        handlers.append(terminal)
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            log_dir / file_name,
            maxBytes=settings.log_file_size_bytes,
            backupCount=settings.log_file_count,
            encoding="utf-8",
        )
        file.setFormatter(as_json)
        handlers.append(file)
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(settings.log_level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        cache_logger_on_first_use=True,
    )
