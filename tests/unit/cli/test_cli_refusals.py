"""Whatever ends a command is one line on stderr and an exit code."""

import errno
import os

import pytest

from gaugehouse import cli
from gaugehouse.errors import Refused


@pytest.mark.parametrize(
    ("ends_with", "said"),
    [
        (Refused("no such thing"), "no such thing"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/mnt/backups"), "/mnt/backups: Permission denied"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError(errno.EBADF, os.strerror(errno.EBADF), b"/mnt/x"), "/mnt/x: Bad file descriptor"),
        (OSError("two lines\nof it"), "two lines"),
        (TimeoutError(), "TimeoutError"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(monkeypatch, capsys, ends_with, said):
    def end():
        raise ends_with

    monkeypatch.setattr(cli, "app", end)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"gaugehouse: {said}\n"
