"""When files are merged, and which: the policy alone, on file lists."""

from dataclasses import replace

from gaugehouse.lake import compaction
from gaugehouse.lake.compaction import TIER_LIMIT, plan_everything, plan_merge
from gaugehouse.lake.delta import FileEntry

HOUR_US = 3_600_000_000


def entries(tiers, rows=1000, age_us=0):
    """Return one file per tier, oldest first."""
    return [
        FileEntry(
            path=f"project=p/month=2026-01/{f'merged-{tier}-{i:016x}' if tier else f'part-{i:012d}-00000000'}.zstd.parquet",
            size_bytes=1,
            rows=rows,
            project="p",
            month="2026-01",
            components=("a", "b"),
            instants_us=(0, 1),
            received_us=(i - age_us, i - age_us),
        )
        for i, tier in enumerate(tiers)
    ]


def flushed(i):
    return replace(
        entries([0])[0], path=f"project=p/month=2026-01/part-{i:012d}-00000000.zstd.parquet", received_us=(i, i)
    )


def merged(merge, i):
    path = f"project=p/month=2026-01/merged-{merge.tier}-{i:016x}.zstd.parquet"
    return replace(merge.entries[0], path=path, rows=merge.rows, received_us=(merge.entries[0].received_us[0], i))


def simulate(flushes):
    """Let the policy run behind so many flushes; return (files left, rewrites per row)."""
    files, rewrites = [], 0
    for i in range(flushes):
        files.append(flushed(i))
        while (merge := plan_merge(files, now_us=i)) is not None:
            rewrites += merge.rows
            files = [entry for entry in files if entry not in merge.entries] + [merged(merge, i)]
    return files, rewrites / (flushes * 1000)


def test_a_month_of_flushes_leaves_few_files_and_no_row_is_rewritten_more_than_four_times():
    files, rewrites = simulate(20_000)
    assert len(files) < 64
    assert rewrites <= TIER_LIMIT


def test_a_partition_without_new_rows_is_merged_earlier():
    files = entries([2, 1, 0, 0], age_us=2 * HOUR_US)
    assert plan_merge(files, now_us=HOUR_US) is not None
    assert plan_merge(entries([2, 1, 0, 0]), now_us=HOUR_US // 2) is None


def test_full_files_and_files_of_the_last_tier_are_left_alone():
    assert plan_merge(entries([TIER_LIMIT] * 40), now_us=10 * HOUR_US) is None
    assert plan_merge(entries([0] * 40, rows=compaction.FULL_ROWS), now_us=10 * HOUR_US) is None
    assert not list(plan_everything(entries([TIER_LIMIT] * 5)))


def test_a_merge_never_holds_more_rows_than_a_file_may():
    for merge in plan_everything(entries([0] * 30, rows=3_000_000)):
        assert merge.rows <= compaction.FULL_ROWS
