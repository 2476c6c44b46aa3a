"""The socket through which commands of the same user ask the owner of a lake.

`<data>/run/control.sock`, mode 0600 in a folder of mode 0700; the kernel says who calls (SO_PEERCRED). A request is one
line of JSON, `{"do": name, "with": {...}}`; the answer is any number of lines `{"progress": [doing, done, total]}` and
then `{"done": ...}` or `{"problem": {...}}`, an error as everywhere. What was begun is carried to its end, also when
the caller has gone.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from gaugehouse.errors import (
    AlreadyExists,
    Forbidden,
    GaugehouseError,
    NotFound,
    Refused,
    StartRefused,
    StorageFull,
    Throttled,
    TooLarge,
    Unavailable,
    Unreadable,
)

logger = structlog.get_logger()

NAME = "control.sock"
PATH_BYTES = 100  # the kernel takes 107
REQUEST_BYTES = 64 * 1024
CALLERS = 8
POLL_S = 0.25
TALK_S = 10.0  # a caller that neither sends nor reads for so long is gone
STOP_S = 10.0
PROGRESS_PERIOD_S = 0.1
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
ROOT_UID = 0

Progress = Callable[[str, int, int], None]
Answer = Callable[[Mapping[str, Any], Progress], object]
KINDS = {
    cls.kind.value: cls
    for cls in (
        AlreadyExists, Forbidden, NotFound, Refused, StartRefused, StorageFull, Throttled, TooLarge, Unavailable,
        Unreadable,
    )
}  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    """What a caller wants done, and with what."""

    do: str
    given: dict[str, Any] = msgspec.field(name="with", default_factory=dict)


class NobodyAnswers(Unavailable):
    """No owner listens: none runs, or it is still starting."""

    default_code = "nobody_answers"


@contextmanager
def _address(run_dir: Path) -> Iterator[str]:
    """Give the socket's path; a long one through an open folder, because the kernel takes 107 bytes only."""
    path = run_dir / NAME
    if len(os.fsencode(path)) <= PATH_BYTES:
        yield str(path)
        return
    descriptor = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


class ControlSocket:
    """Answers requests, each in a thread of its own, until it is left."""

    def __init__(self, run_dir: Path, answers: Mapping[str, Answer]) -> None:
        self._run_dir = run_dir
        self._answers = answers
        self._stopping = threading.Event()
        self._callers = threading.BoundedSemaphore(CALLERS)
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir.chmod(0o700)
        (self._run_dir / NAME).unlink(missing_ok=True)  # of a killed owner; nobody else can hold the lake now
        with _address(self._run_dir) as address:
            self._listener.bind(address)
        (self._run_dir / NAME).chmod(0o600)
        self._listener.listen(CALLERS)
        self._listener.settimeout(POLL_S)
        thread = threading.Thread(target=self._listen, name="control", daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        (self._run_dir / NAME).unlink(missing_ok=True)
        deadline_s = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._listener.close()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _address_of_caller = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as exc:
                logger.warning("control_accept_failed", errno=exc.errno)
                self._stopping.wait(POLL_S)
                continue
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._serve, args=(connection,), name="control-caller", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TALK_S)
            caller = _Caller(connection)
            if not self._callers.acquire(blocking=False):
                caller.refuse(Throttled("too many commands ask the owner at once; try again", retry_after_s=1))
                return
            try:
                caller.send({"done": self._answer(caller)})
            except GaugehouseError as refusal:
                caller.refuse(refusal)
            except OSError as exc:
                logger.warning("control_request_failed", errno=exc.errno)
                caller.refuse(Unavailable(f"the disk refused: {os.strerror(exc.errno or 0)}"))
            except Exception as exc:  # a caller that hears nothing would try again
                logger.exception("control_request_failed")
                caller.refuse(_broken(exc))
            finally:
                self._callers.release()

    def _answer(self, caller: "_Caller") -> object:
        caller.refuse_others()
        request = caller.read_request()
        answer = self._answers.get(request.do)
        if answer is None:
            raise NotFound(f"the owner does not know the request {request.do[:64]!r}", code="unknown_request")
        logger.info("control_request", do=request.do)
        return answer(request.given, caller.report)


class _Caller:
    """One connection: what it says, and what it is told as long as it listens."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_gone = False
        self._reported_s = float("-inf")

    def refuse_others(self) -> None:
        """Refuse callers of another user.

        Raises:
            Forbidden: it is one.
        """
        raw = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        _pid, uid, _gid = CREDENTIALS.unpack(raw)
        if uid not in {os.geteuid(), ROOT_UID}:
            raise Forbidden("only the user who runs the owner may ask it", code="other_user")

    def read_request(self) -> Request:
        """Return the request.

        Raises:
            Unreadable: it is none.
            TooLarge: it is longer than any request is.
        """
        line = b""
        while not line.endswith(b"\n"):
            try:
                some = self._connection.recv(REQUEST_BYTES)
            except TimeoutError as exc:
                raise Unreadable("the request did not come in time") from exc
            line += some
            if len(line) > REQUEST_BYTES:
                raise TooLarge(f"a request is at most {REQUEST_BYTES:,} bytes long")
            if not some:
                break
        try:
            return msgspec.json.decode(line, type=Request)
        except msgspec.DecodeError as exc:
            raise Unreadable("the request is not a line of JSON with `do` and `with`") from exc

    def report(self, doing: str, done: int, total: int) -> None:
        """Tell how far it is, not more often than anybody can see."""
        now_s = time.monotonic()
        if done >= total or now_s - self._reported_s >= PROGRESS_PERIOD_S:
            self._reported_s = now_s
            self.send({"progress": (doing, done, total)})

    def refuse(self, refusal: GaugehouseError) -> None:
        """Tell why it is not done."""
        problem = {
            **refusal.fields,
            "type": f"urn:gaugehouse:problem:{refusal.code}",
            "title": refusal.kind.value,
            "detail": refusal.message,
            "code": refusal.code,
            "retry_after_s": refusal.retry_after_s,
        }
        self.send({"problem": problem})

    def send(self, message: object) -> None:
        if self._is_gone:
            return
        try:
            self._connection.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:  # the work goes on: half of it is worth nothing
            self._is_gone = True


def ask_owner(run_dir: Path, do: str, given: Mapping[str, Any], on_progress: Progress) -> Any:
    """Ask the running owner for something and return its answer.

    Raises:
        NobodyAnswers: no owner listens, or it went away before it answered.
        GaugehouseError: what the owner says.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _address(run_dir) as address:
                connection.connect(address)
        except OSError as exc:
            raise NobodyAnswers("no owner of this lake answers") from exc
        with suppress(BrokenPipeError):  # it refuses before it reads; the reason is on its way
            connection.sendall(msgspec.json.encode({"do": do, "with": given}) + b"\n")
        for message in _messages(connection):
            if "progress" in message:
                on_progress(*message["progress"])
            elif "done" in message:
                return message["done"]
            else:
                raise _refusal(message["problem"])
    raise NobodyAnswers("the owner ended before it answered")


def _broken(exc: Exception) -> GaugehouseError:
    return GaugehouseError(
        f"the owner failed with {type(exc).__name__}, which nobody foresaw; its log says where. The same request will "
        "probably fail again",
        code="internal_error",
    )


def _messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    with connection.makefile("rb") as lines:
        try:
            for line in lines:
                yield msgspec.json.decode(line)
        except ConnectionResetError as exc:
            raise NobodyAnswers("the owner ended before it answered") from exc


def _refusal(problem: Mapping[str, Any]) -> GaugehouseError:
    known = {"type", "title", "detail", "code", "retry_after_s"}
    cls = KINDS.get(problem["title"], GaugehouseError)
    return cls(
        problem["detail"],
        code=problem["code"],
        fields={name: value for name, value in problem.items() if name not in known},
        retry_after_s=problem["retry_after_s"],
    )
