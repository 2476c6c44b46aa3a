"""The audit log from outside: beside a running server, killed, tampered with, restored from a backup."""

import json
import sqlite3

import pyarrow.parquet as pq
import pytest

DAMAGED = 3


@pytest.fixture(scope="module")
def audited(found):
    installation = found().start()
    yield installation
    installation.stop()


def told(installation, *options):
    return json.loads(installation.run_well("audit", "list", "--json", "--limit", "1000", *options))["items"]


def test_requests_and_commands_write_one_chain(audited, tmp_path):
    manager = audited.sign_in("max")
    assert manager.post("/v1/components", json={"name": "press-1"}).status_code == 201
    audited.create_key("press")
    assert manager.patch("/v1/components/press-1", json={"title": "Press"}).status_code == 200
    newest = told(audited)[:3]
    assert [(one["action"], one["actor"], one["source"]) for one in newest] == [
        ("component.change", "max", "127.0.0.1"),
        ("key.create", "operator", "local"),
        ("component.create", "max", "127.0.0.1"),
    ]
    assert "verdict: SOUND" in audited.run_well("audit", "verify")
    audited.run_well("audit", "export", tmp_path / "audit.parquet")
    assert "key.create" in pq.read_table(tmp_path / "audit.parquet").column("action").to_pylist()


def test_a_killed_server_leaves_a_sound_log(audited):
    manager = audited.sign_in("max")
    for number in range(20):
        assert manager.post("/v1/components", json={"name": f"killed-{number}"}).status_code == 201
    audited.kill()
    assert "verdict: SOUND" in audited.run_well("audit", "verify")
    assert len([one for one in told(audited, "--action", "component.create") if "killed" in one["object_name"]]) == 20
    audited.start()


def test_a_deleted_project_leaves_its_last_hash(audited):
    audited.run_well("project", "create", "gone")
    audited.run_well("project", "set", "gone", "--keep-events", "30d")
    last = told(audited, "--project", "gone")[0]
    audited.run_well("project", "delete", "gone", "--yes")
    deleted = told(audited, "--installation", "--object", "gone")[0]
    assert (deleted["action"], deleted["actor_kind"]) == ("project.delete", "operator")
    assert json.loads(deleted["details"]) == {"entries": 1, "last_hash": last["hash"]}
    assert "verdict: SOUND" in audited.run_well("audit", "verify")


def test_a_backup_brings_the_log_along(audited, found, tmp_path):
    audited.run_well("backup", tmp_path / "backups")
    before = told(audited)
    restored = found()
    restored.data_dir = tmp_path / "restored"
    restored.run_well("restore", tmp_path / "backups")
    assert told(restored) == before
    assert told(restored, "--installation")[0]["action"] == "backup.restore"
    assert "verdict: SOUND" in restored.run_well("audit", "verify")


def test_a_truncated_log_is_found(audited):
    """By somebody who lifts the triggers, cuts the newest entries off and turns the head back to what is left."""
    number = told(audited)[0]["number"]
    with sqlite3.connect(audited.data_dir / "gaugehouse.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        chain, kept = database.execute(
            "SELECT chain, hash FROM audit_entries WHERE chain <> 'installation' AND number = ?", (number - 2,)
        ).fetchone()
        database.execute("DELETE FROM audit_entries WHERE chain = ? AND number > ?", (chain, number - 2))
        database.execute("UPDATE audit_chains SET number = ?, hash = ? WHERE chain = ?", (number - 2, kept, chain))
    database.close()
    done = audited.run("audit", "verify", "--json")
    assert done.returncode == DAMAGED
    verdict = json.loads(done.stdout)
    assert [(one["code"], one["number"]) for one in verdict["findings"]] == [("chain_truncated", number - 1)]
