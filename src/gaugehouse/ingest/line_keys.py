"""What a key of line protocol (measurement and tags) stands for here: component, names of metrics, labels."""

import re
from dataclasses import dataclass
from functools import lru_cache

from gaugehouse.config import Settings
from gaugehouse.ingest.flaws import shown

BARE_MEASUREMENT = "gaugehouse"  # its fields are metrics by their own names
REMEMBERED_KEYS = 32_768
LONGEST_REMEMBERED_BYTES = 512  # so remembering never takes more than some tens of MiB
UNESCAPED_COMMA = re.compile(r"(?<!\\),")
UNESCAPED_EQUALS = re.compile(r"(?<!\\)=")
ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")
ESCAPED_IN_TAG = re.compile(r"\\([,= ])")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMapping:
    """Which tags mean what.

    Args:
        component_tags: The first of these that a line has names the component.
        metric_tags: Values of these become part of the metric's name, in this order: `usage.cpu0`.
    """

    component_tags: tuple[str, ...] = ("component", "device", "host")
    metric_tags: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> "LineMapping":
        return cls(
            component_tags=_names_of(settings.line_component_tags), metric_tags=_names_of(settings.line_metric_tags)
        )


def _names_of(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSeries:
    """What all lines of one key have in common. A metric is called prefix + field + suffix."""

    component: str
    prefix: str
    suffix: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadKey:
    """A key that stands for nothing, and why."""

    field: str
    reason: str


def read_key(key: bytes, mapping: LineMapping) -> LineSeries | BadKey:
    """Return what a key stands for; senders repeat their keys, so the answers are remembered."""
    return _read_remembered(key, mapping) if len(key) <= LONGEST_REMEMBERED_BYTES else _read(key, mapping)


def _read(key: bytes, mapping: LineMapping) -> LineSeries | BadKey:
    text = key.decode()
    measurement, tags = _split_tags(text)
    if not measurement:
        return BadKey(field="measurement", reason="is missing")
    found: dict[str, str] = {}
    for tag in tags:
        parts = tag.split("=") if "\\" not in tag else [_unescape(part) for part in UNESCAPED_EQUALS.split(tag)]
        if len(parts) != 2 or not parts[0] or not parts[1]:
            return BadKey(field="tags", reason=f"are not name=value: {shown(tag)}")
        if parts[0] in found:
            return BadKey(field="tags", reason=f"name {shown(parts[0])} twice")
        found[parts[0]] = parts[1]
    component_tag = next((tag for tag in mapping.component_tags if tag in found), None)
    if component_tag is None:
        return BadKey(field="tags", reason=f"have none of {', '.join(mapping.component_tags)}: no component is named")
    component = found.pop(component_tag)
    suffixes = [found.pop(tag) for tag in mapping.metric_tags if tag in found]
    return LineSeries(
        component=component,
        prefix="" if measurement == BARE_MEASUREMENT else f"{measurement}.",
        suffix="".join(f".{suffix}" for suffix in suffixes),
        labels=tuple(found.items()),
    )


_read_remembered = lru_cache(maxsize=REMEMBERED_KEYS)(_read)


def _split_tags(text: str) -> tuple[str, list[str]]:
    if "\\" not in text:
        measurement, *tags = text.split(",")
        return measurement, tags
    measurement, *tags = UNESCAPED_COMMA.split(text)
    return ESCAPED_IN_MEASUREMENT.sub(r"\1", measurement), tags


def _unescape(text: str) -> str:
    return ESCAPED_IN_TAG.sub(r"\1", text)


def read_field_key(key: bytes) -> str:
    """Return the name of a field as it was meant."""
    text = key.decode()
    return _unescape(text) if "\\" in text else text
