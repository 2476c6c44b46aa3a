import stat
import threading

import pytest

from gaugehouse.access import load_signing_secret
from gaugehouse.errors import StartRefused


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    folder = tmp_path / "secrets"
    secret = load_signing_secret(folder)
    assert len(secret) == 32
    assert load_signing_secret(folder) == secret
    assert [path.name for path in folder.iterdir()] == ["signing-secret"]
    assert stat.S_IMODE((folder / "signing-secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_installations_have_different_secrets(tmp_path):
    assert load_signing_secret(tmp_path / "a") != load_signing_secret(tmp_path / "b")


def test_all_who_start_at_once_get_the_same_secret(tmp_path):
    secrets, barrier = [], threading.Barrier(8)

    def load():
        barrier.wait()
        secrets.append(load_signing_secret(tmp_path / "secrets"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(secrets) == 8
    assert len(set(secrets)) == 1


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    load_signing_secret(tmp_path)
    (tmp_path / "signing-secret").chmod(0o644)
    with pytest.raises(StartRefused) as caught:
        load_signing_secret(tmp_path)
    assert caught.value.code == "secret_exposed"
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("content", ["", "abcd", "not hex", "é"])
def test_a_damaged_secret_is_refused_and_kept(tmp_path, content):
    load_signing_secret(tmp_path)
    (tmp_path / "signing-secret").write_text(content, "utf-8")
    with pytest.raises(StartRefused):
        load_signing_secret(tmp_path)
    assert (tmp_path / "signing-secret").read_text("utf-8") == content


def test_a_folder_that_cannot_be_made_is_refused_without_its_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused) as caught:
        load_signing_secret(tmp_path / "file" / "secrets")
    assert str(tmp_path) not in caught.value.message
