"""Secrets as files: systemd's credentials and Docker's secrets are settings by their names."""

import pytest

from gaugehouse.config import FILES_VARIABLE, Settings


@pytest.fixture
def files(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "METRICS_TOKEN", "SMTP_PASSWORD"):
        monkeypatch.delenv(f"GAUGEHOUSE_{name}", raising=False)
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path))
    return tmp_path


def test_a_file_is_a_setting_without_its_last_line_break(files):
    (files / "gaugehouse_smtp_password").write_text("from a file\n")
    (files / "of_somebody_else").write_text("nothing of ours")
    assert Settings().smtp_password == "from a file"


def test_the_environment_and_the_command_line_win(files, monkeypatch):
    (files / "gaugehouse_port").write_text("1111")
    assert Settings().port == 1111
    monkeypatch.setenv("GAUGEHOUSE_PORT", "2222")
    assert Settings().port == 2222
    assert Settings(port=3333).port == 3333


def test_without_the_variable_no_file_is_looked_for(files, monkeypatch):
    (files / "gaugehouse_port").write_text("1111")
    monkeypatch.delenv(FILES_VARIABLE)
    assert Settings().port == 8080
