"""Structured logs: one JSON line per fact, to stdout and to a rotating file."""

import logging
import logging.handlers
import sys
from pathlib import Path

import structlog

from gaugehouse.config import Settings

REDACTED_KEYS = frozenset({"password", "token", "authorization", "api_key", "secret"})


def _redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in REDACTED_KEYS & event.keys():
        event[key] = "***"
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
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handlers: list[logging.Handler] = []
    if to_stdout:
        handlers.append(logging.StreamHandler(sys.stdout))
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                log_dir / file_name,
                maxBytes=settings.log_file_size_bytes,
                backupCount=settings.log_file_count,
                encoding="utf-8",
            )
        )
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(formatter)
    root.handlers = handlers
    root.setLevel(settings.log_level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        cache_logger_on_first_use=True,
    )
