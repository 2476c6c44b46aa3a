"""A real lake in a temporary folder."""

import pytest

from gaugehouse.config import Layout, Settings
from gaugehouse.lake import Lake
from integration.lake.lake_images import copy, make_images


class LakeFactory:
    """Opens lakes over one folder, and closes what a test left open."""

    def __init__(self, folder):
        self.layout = Layout(folder)
        self.failures = []
        self._open = []

    def open(self, **settings):
        values = {"segment_age_s": 3600.0, "free_space_bytes": 0} | settings
        lake = Lake.open(
            self.layout, Settings(data_dir=self.layout.data_dir, **values), on_failure=self.failures.append
        )
        self._open.append(lake)
        return lake

    def crash(self, lake):
        """Let go of a lake without flushing, saving or sealing: what kill -9 leaves."""
        self._open.remove(lake)
        lake._stopping.set()
        lake._flush_wanted.set()
        for thread in lake._threads:
            thread.join()
        lake._sequencer.log.close()
        lake._lock.release()

    def close(self):
        for lake in self._open:
            lake.close()


@pytest.fixture
def lakes(tmp_path):
    factory = LakeFactory(tmp_path / "data")
    yield factory
    factory.close()


@pytest.fixture
def lake(lakes):
    return lakes.open()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """(a closed lake, a lake as a power cut leaves it: with sealed and open log segments)."""
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def closed(images, tmp_path):
    return copy(images[0].data_dir, tmp_path / "copy")


@pytest.fixture
def cut(images, tmp_path):
    return copy(images[1].data_dir, tmp_path / "copy")
