from gaugehouse.jobs import Progress
from gaugehouse.reports.passes import COMPARING, COMPUTING, COUNTING, Pass, Passes


def test_two_passes_are_told_of_as_one_that_never_goes_back():
    told = []
    passes = Passes([Pass(phase=COMPUTING, rows=600, series=0), Pass(phase=COMPARING, rows=198, series=1)], told.append)
    for rows_total in (300, 100):  # as they are counted: the files hold others too
        tell = passes.begin()
        tell(Progress(percent=0, doing="counting rows", phase=COUNTING))
        for part in (0, 1):
            tell(
                Progress(
                    percent=50 * part,
                    doing="computing a",
                    phase=COMPUTING,
                    rows_read=part * rows_total // 2,
                    rows_total=rows_total,
                )
            )
    passes.finish("putting the result together")
    assert [one.phase for one in told] == [
        "counting",
        "computing",
        "computing",
        "counting",
        "comparing",
        "comparing",
        "finishing",
    ]
    assert [(one.rows_read, one.rows_total) for one in told] == [
        (0, 798),
        (0, 498),
        (150, 498),
        (300, 498),
        (300, 400),
        (350, 400),
        (400, 400),
    ]
    percents = [one.percent for one in told]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
