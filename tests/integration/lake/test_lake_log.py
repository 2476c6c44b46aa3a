"""The log's records: what a start believes and what it refuses."""

import errno
import os
import uuid

import pytest

from gaugehouse.errors import DamageFound, StorageFull
from gaugehouse.lake.log import Log
from gaugehouse.lake.segments import (
    SEGMENT_HEADER,
    LogRecord,
    RecordKind,
    scan_segment,
    seal_recovered,
    segment_path,
    set_torn_tail_aside,
)

LOG_UUID = uuid.UUID(int=7)


@pytest.fixture
def log(tmp_path):
    opened = Log(tmp_path, LOG_UUID, 0)
    opened.open_segment()
    yield opened
    opened.close()


def write(log, count, *, durable=True):
    for number in range(count):
        position = log.append(LogRecord(received_at_us=number, project="p", measurements=bytes([number]) * 50))
        if durable:
            log.wait_durable(position)


def scan(log, *, is_last=True):
    return scan_segment(segment_path(log.log_dir, 0), log_uuid=LOG_UUID, is_last=is_last)


def test_records_come_back_in_order(log):
    write(log, 5)
    found = scan(log)
    assert [record.received_at_us for record in found.records] == [0, 1, 2, 3, 4]
    assert found.records[3].measurements == b"\x03" * 50
    assert found.torn_bytes == 0
    assert not found.is_sealed


def test_a_sealed_segment_carries_the_checksum_that_a_scan_finds(log):
    write(log, 3)
    number, crc = log.seal()
    found = scan(log, is_last=False)
    assert (number, found.is_sealed, found.crc) == (0, True, crc)
    assert log.number == 1
    assert segment_path(log.log_dir, 1).exists()


@pytest.mark.parametrize("cut_bytes", [1, 10, 60])
def test_a_torn_tail_that_nobody_was_promised_is_set_aside(log, cut_bytes):
    write(log, 2)
    write(log, 1, durable=False)
    path = segment_path(log.log_dir, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut_bytes])
    found = scan(log)
    assert [record.received_at_us for record in found.records] == [0, 1]
    set_torn_tail_aside(found)
    saved = next((log.log_dir / "torn").iterdir()).read_bytes()
    assert path.read_bytes() + saved == whole[:-cut_bytes]
    assert path.stat().st_size == found.valid_bytes


def test_reordered_writes_above_the_durable_mark_are_a_torn_tail(log):
    write(log, 2)
    write(log, 2, durable=False)
    path = segment_path(log.log_dir, 0)
    content = bytearray(path.read_bytes())
    third = scan(log).valid_bytes - 2 * ((len(content) - SEGMENT_HEADER.size) // 4)
    content[third + 30] ^= 0xFF  # the third record never reached the disk, the fourth did
    path.write_bytes(content)
    assert [record.received_at_us for record in scan(log).records] == [0, 1]


def test_a_bad_record_below_the_durable_mark_is_damage(log):
    write(log, 4)
    path = segment_path(log.log_dir, 0)
    content = bytearray(path.read_bytes())
    content[SEGMENT_HEADER.size + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamageFound, match="repair"):
        scan(log)


def test_a_damaged_length_does_not_hide_the_records_behind_it(log):
    write(log, 4)
    path = segment_path(log.log_dir, 0)
    content = bytearray(path.read_bytes())
    content[SEGMENT_HEADER.size + 8] ^= 0xFF  # the length field of the first record
    path.write_bytes(content)
    with pytest.raises(DamageFound):
        scan(log)


def test_an_idle_log_makes_its_last_record_provably_durable(log):
    write(log, 1)
    assert log.mark() is not None
    log.wait_durable(log.written)
    assert log.mark() is None, "a marker needs no marker"
    path = segment_path(log.log_dir, 0)
    content = bytearray(path.read_bytes())
    content[SEGMENT_HEADER.size + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamageFound):
        scan(log)


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_every_flipped_bit_of_a_sealed_segment_is_found(log, position):
    write(log, 4)
    log.seal()
    path = segment_path(log.log_dir, 0)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << (position % 8)
    path.write_bytes(content)
    with pytest.raises(DamageFound):
        scan(log, is_last=False)


def test_a_sealed_segment_cut_short_is_damage(log):
    write(log, 4)
    log.seal()
    path = segment_path(log.log_dir, 0)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamageFound):
        scan(log, is_last=False)


def test_a_segment_whose_creation_was_torn_holds_nothing(log):
    path = segment_path(log.log_dir, 0)
    path.write_bytes(b"GHLO")
    found = scan(log)
    assert (found.records, found.valid_bytes, found.torn_bytes) == ([], 0, 4)


def test_a_recovered_segment_is_sealed_like_any_other(log):
    write(log, 2)
    crc = seal_recovered(scan(log))
    again = scan(log, is_last=False)
    assert (again.is_sealed, again.crc) == (True, crc)


def test_a_segment_of_another_log_is_refused(log):
    write(log, 2)
    with pytest.raises(DamageFound):
        scan_segment(segment_path(log.log_dir, 0), log_uuid=uuid.UUID(int=8), is_last=True)


def test_no_sync_covers_a_record_that_its_publisher_does_not_know_yet(log):
    known, told = [], []
    log.on_durable = told.append

    def hold(position):
        log.wait_durable(log.written)  # another request's sync, at the worst moment
        known.append(position)

    write(log, 1)
    position = log.append(LogRecord(received_at_us=1, project="p"), hold)
    assert known == [position]
    assert position not in told
    log.wait_durable(position)
    assert told[-1] == position


def test_a_record_that_memory_could_not_take_stops_the_log(log):
    failures = []
    log.on_failure = lambda: failures.append("stopped")

    def refuse(_position):
        raise MemoryError

    with pytest.raises(MemoryError):
        log.append(LogRecord(received_at_us=1, project="p"), refuse)
    assert failures == ["stopped"]


@pytest.mark.parametrize("fails", ["open", "write"])
def test_a_seal_without_room_for_the_next_segment_leaves_a_log_that_goes_on(log, monkeypatch, fails):
    write(log, 2)
    opened, written = os.open, os.write

    def full_open(path, flags, *args):
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, flags, *args)

    def full_write(descriptor, content):
        if len(content) == SEGMENT_HEADER.size:
            written(descriptor, content[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, content)

    monkeypatch.setattr(os, fails, full_open if fails == "open" else full_write)
    assert log.seal()[0] == 0
    with pytest.raises(StorageFull):
        log.append(LogRecord(received_at_us=9, project="p"))
    assert log.mark() is None
    monkeypatch.undo()
    write(log, 3)
    assert len(scan(log, is_last=False).records) == 2
    second = scan_segment(segment_path(log.log_dir, 1), log_uuid=LOG_UUID, is_last=True)
    assert (len(second.records), second.torn_bytes) == (3, 0)


def test_a_segment_that_cannot_be_sealed_stays_open(log, monkeypatch):
    write(log, 2)
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(StorageFull):
        log.seal()
    monkeypatch.undo()
    write(log, 1)
    assert log.seal()[0] == 0
    assert len(scan(log, is_last=False).records) == 3


def test_record_kinds_are_stable():
    assert (RecordKind.ROWS, RecordKind.MARKER, RecordKind.FOOTER) == (1, 2, 3)
