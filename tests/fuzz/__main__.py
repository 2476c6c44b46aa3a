"""`make fuzz`: let atheris look for inputs on which the decoders fail or disagree, guided by the lines they reach.

Each target runs in a process of its own, for its share of the time. The slow readers are instrumented too: the compiled
ones cannot be, and what makes the slow one take another way is what is new to both. What is found stays in `.fuzz/`;
with `--keep` small inputs that reach something new go to `tests/fuzz/corpus/`, where `make test` reads them.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from fuzz.corpora import read_corpus, write_corpus

FOLDER = Path(".fuzz")
LONGEST_BYTES = 1024
KEPT_BYTES, KEPT_COUNT = 200, 150
NAMES = ("lines", "csv", "json", "ndjson")
# numba compiles functions of this module: it cannot compile the calls that instrumenting adds.
COMPILED = ["gaugehouse.ingest.line_scan"]
INSTRUMENTED = ["gaugehouse.ingest", "unit.ingest.line_reference"]


def main():
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of all targets together")
    parser.add_argument("--target", choices=NAMES, action="append", help="repeatable; all without it")
    parser.add_argument("--keep", action="store_true", help="add what reached something new to the corpus")
    parser.add_argument("--run", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run is not None:
        run(arguments.run, arguments.seconds)
    chosen = arguments.target or NAMES
    failed = [name for name in chosen if not fuzz(name, arguments.seconds // len(chosen), keep=arguments.keep)]
    for name in failed:
        print(f"{name}: failed; the input is beside {FOLDER / name}")
    return 1 if failed else 0


def fuzz(name, seconds, *, keep):
    """Run one target in a process of its own; return whether nothing was found."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{name}: {seconds} s", flush=True)
    done = subprocess.run([sys.executable, "-m", "fuzz", "--run", name, "--seconds", str(seconds)], check=False)
    if keep:
        # libFuzzer adds what reached something new; the smallest of it say it best.
        found = sorted((path.read_bytes() for path in folder.iterdir()), key=len)
        small = [body for body in found if len(body) <= KEPT_BYTES][:KEPT_COUNT]
        write_corpus(name, [*read_corpus(name), *small])
    return done.returncode == 0


def run(name, seconds):
    """Fuzz until the time is over or something is found; ends the process."""
    import atheris  # noqa: PLC0415 - an optional group: `make fuzz` installs it

    import gaugehouse.lake  # noqa: F401, PLC0415 - before instrumenting: it is not what is fuzzed

    with atheris.instrument_imports(include=INSTRUMENTED, exclude=COMPILED):
        from fuzz.targets import SEEDS, TARGETS  # noqa: PLC0415 - what is imported here is instrumented
    folder = FOLDER / name
    for number, body in enumerate([*SEEDS[name], *read_corpus(name)]):
        (folder / f"kept-{number}").write_bytes(body)
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", f"-artifact_prefix={FOLDER}/{name}-"]
    atheris.Setup(
        [name, str(folder), "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1", *options], TARGETS[name]
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
