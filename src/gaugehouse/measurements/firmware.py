"""Events of kind `firmware`: what a device ran since when. One reading for reports, lists and devices."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

FIRMWARE = "firmware"
IN_FORCE = frozenset({"", "updated", "installed", "success"})  # of these the version runs; others tell of attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the body of an event says; `status` is empty where it says none."""

    version: str
    status: str

    @property
    def is_in_force(self) -> bool:
        """Whether the version runs from then on."""
        return self.status.casefold() in IN_FORCE


Version = Annotated[str, msgspec.Meta(max_length=200)]


class _Body(msgspec.Struct):
    """What is read of an event's body; `firmware` is the older word for the version."""

    version: Version | None = None
    firmware: Version | None = None
    status: str | None = None


_DECODER = msgspec.json.Decoder(_Body)


def read_firmware_body(body: str) -> Reported | None:
    """Return what an event's body says, None for one of somebody who means something else by the word.

    >>> read_firmware_body('{"firmware":"1.0.3","status":"updated"}')
    Reported(version='1.0.3', status='updated')
    """
    try:
        read = _DECODER.decode(body)
    except msgspec.MsgspecError:
        return None
    version = read.firmware if read.version is None else read.version
    return Reported(version=version, status=read.status or "") if version else None


def write_firmware_body(reported: Reported) -> dict[str, str]:
    """Return the body of an event that says this."""
    return (
        {"status": reported.status, "version": reported.version} if reported.status else {"version": reported.version}
    )
