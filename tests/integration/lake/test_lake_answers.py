"""What senders were told is as durable as their rows, and forgotten after a day."""

import sqlite3

import pytest

from factories import measurement_batch
from gaugehouse.errors import AlreadyExists, Refused, Unavailable
from gaugehouse.lake import Delivery, answer_key
from gaugehouse.lake.answers import KEPT_US, find_damage
from gaugehouse.lake.segments import KeyedAnswer, LogRecord, _decode_record, encode_record
from gaugehouse.lake.sequencer import now_us

KEY = answer_key("p", "/v1/measurements", "delivery-1")
BODY = b"f" * 32


def keyed(rows, key=KEY, answered_at_us=None):
    def answer(appended):
        return KeyedAnswer(
            key=key,
            fingerprint=BODY,
            status=201,
            body=f"accepted {appended.accepted} duplicates {appended.duplicates}".encode(),
            answered_at_us=now_us() if answered_at_us is None else answered_at_us,
        )

    return Delivery(batches={"measurements": measurement_batch(rows)}, answer=answer)


def found(lake, key=KEY):
    answer = lake.answers.find(key, now_us=now_us())
    return None if answer is None else answer.body


@pytest.mark.parametrize("end", ["crash", "flush and crash", "stop"])
@pytest.mark.parametrize("is_known", [False, True])
def test_an_answer_outlives_the_process_with_its_rows(lakes, end, is_known):
    lake = lakes.open()
    if is_known:
        lake.append_measurements("p", measurement_batch([("a", "m", 5, 1.0)]))
        lake.flush()
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    told = f"accepted {int(not is_known)} duplicates {int(is_known)}".encode()
    assert found(lake) == told
    if end != "stop":
        if end == "flush and crash":
            lake.flush()
        lakes.crash(lake)
    else:
        lake.close()
        lakes._open.clear()
    again = lakes.open()
    assert found(again) == told
    again.flush()
    assert found(again) == told
    assert again.newest("p").num_rows == 1


def test_a_delivery_of_no_rows_keeps_its_answer(lakes):
    lake = lakes.open()
    lake.append("p", keyed([]))
    lakes.crash(lake)
    assert found(lakes.open()) == b"accepted 0 duplicates 0"


def test_answers_leave_memory_when_they_are_in_the_file(lake):
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    assert len(lake.answers._in_log) == 1
    lake.flush()
    assert not lake.answers._in_log
    assert found(lake)


def test_an_answer_is_kept_for_a_day(lake):
    lake.append("p", keyed([("a", "m", 5, 1.0)], answered_at_us=now_us() - KEPT_US + 60_000_000))
    lake.append("p", keyed([("a", "m", 6, 1.0)], b"old" * 8, answered_at_us=now_us() - KEPT_US - 1))
    assert found(lake)
    assert found(lake, b"old" * 8) is None
    lake.flush()
    with sqlite3.connect(lake.answers.path) as file:
        assert file.execute("SELECT key FROM answers").fetchall() == [(KEY,)]
    file.close()


def test_one_key_runs_once_at_a_time_and_with_one_body(lake):
    answers = lake.answers
    assert answers.begin(KEY, BODY, now_us=now_us()) is None
    with pytest.raises(AlreadyExists) as running:
        answers.begin(KEY, BODY, now_us=now_us())
    assert running.value.code == "idempotency_key_running"
    with pytest.raises(Refused) as reused:
        answers.begin(KEY, b"g" * 32, now_us=now_us())
    assert reused.value.code == "idempotency_key_reused"
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    answers.end(KEY)
    assert answers.begin(KEY, BODY, now_us=now_us()).status == 201
    with pytest.raises(Refused):
        answers.begin(KEY, b"g" * 32, now_us=now_us())
    assert answers.begin(answer_key("q", "/v1/measurements", "delivery-1"), BODY, now_us=now_us()) is None


def test_a_changed_answer_is_none_and_a_damaged_file_is_begun_anew(lakes):
    lake = lakes.open()
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.flush()
    with sqlite3.connect(lake.answers.path) as file:
        file.execute("UPDATE answers SET body = X'00'")
    file.close()
    assert found(lake) is None
    path = lake.answers.path
    lake.close()
    lakes._open.clear()
    path.write_bytes(b"no database" * 1000)
    assert found(lakes.open()) is None
    assert path.with_name("answers.db.damaged").exists()


def break_pages(path):
    """Damage all pages but the first, and say in that one that the file has changed."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    content[24:28] = b"\0\0\xff\xff"
    path.write_bytes(content)


def assert_flushes_keyed_rows(lake, key):
    lake.append("p", keyed([("a", "m", 7, 1.0)], key))
    lake.flush()
    assert not lake.answers._in_log
    assert found(lake, key) == b"accepted 1 duplicates 0"
    assert lake.answers.path.with_name("answers.db.damaged").exists()


def test_a_file_with_a_damaged_page_is_begun_anew_at_a_start(lakes):
    lake = lakes.open()
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.close()
    lakes._open.clear()
    break_pages(lake.answers.path)
    again = lakes.open()
    assert again.newest("p").num_rows == 1
    assert found(again) is None
    assert_flushes_keyed_rows(again, b"new" * 8)


@pytest.mark.parametrize(
    ("was", "has_become"),
    [
        (b"key BLOB PRIMARY", b"kew BLOB PRIMARY"),
        (b"TABLE answers (", b"TABLE answerc ("),
        (b"fingerprint BLOB", b"fingerprint BLOC"),
    ],
)
def test_a_file_whose_table_is_another_is_begun_anew_at_a_start(lakes, was, has_become):
    """SQLite itself finds such a file whole: every question to it would fail, for ever."""
    lake = lakes.open()
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.flush()
    path = lake.answers.path
    lakes.crash(lake)
    written = path.read_bytes()
    assert written.count(was) == 1
    path.write_bytes(written.replace(was, has_become))
    assert find_damage(path) is not None  # `lake verify` says what a start will do
    again = lakes.open()
    assert path.with_name("answers.db.damaged").exists()
    again.append("p", keyed([("a", "m", 5, 1.0)]))
    again.flush()
    assert found(again) == b"accepted 0 duplicates 1"


@pytest.mark.parametrize("first", ["flush", "find", "kept", "delete"])
def test_a_page_damaged_while_the_lake_is_open_stops_no_flush(lakes, first):
    lake = lakes.open()
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.flush()
    break_pages(lake.answers.path)
    if first == "find":
        assert found(lake) is None
    if first == "kept":
        assert lake.answers.kept() == []
    if first == "delete":
        lake.answers.delete_project("q")
    assert_flushes_keyed_rows(lake, b"new" * 8)


def test_a_locked_file_is_not_damaged(lake):
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.flush()
    lake.answers._connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(lake.answers.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable):
        lake.answers.kept()
    other.close()
    assert found(lake)


def test_a_file_that_cannot_be_begun_anew_is_tried_again(lake, monkeypatch):
    connect = type(lake.answers)._connect

    def fail(_answers):
        raise sqlite3.OperationalError("disk is full")

    break_pages(lake.answers.path)
    monkeypatch.setattr(type(lake.answers), "_connect", fail)
    with pytest.raises(Unavailable):
        lake.answers.kept()
    monkeypatch.setattr(type(lake.answers), "_connect", connect)
    assert_flushes_keyed_rows(lake, b"new" * 8)


def test_deleting_a_project_deletes_what_its_senders_were_told(lake):
    lake.append("p", keyed([("a", "m", 5, 1.0)]))
    lake.append("q", keyed([("a", "m", 5, 1.0)], answer_key("q", "/v1/measurements", "delivery-1")))
    lake.delete_project("p")
    assert found(lake) is None
    assert found(lake, answer_key("q", "/v1/measurements", "delivery-1"))


def test_records_of_before_are_still_read():
    old = encode_record(LogRecord(received_at_us=1, project="p", measurements=b"m"))
    without_answers = b"\x94" + old[1:-1]  # an array of four, as it was written before
    assert _decode_record(without_answers) == LogRecord(received_at_us=1, project="p", measurements=b"m")
