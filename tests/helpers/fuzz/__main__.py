"""`scripts/fuzz SEED N [--only K] [--reader NAME]`: damage files, and read them.

A right outcome is a UserError in one printable line, or a result: that of the undamaged file, or
one that everything accepts which uses it. Each mutant has 10 seconds and 1 GiB.
"""

from __future__ import annotations

import argparse
import sys

from tests.helpers.fuzz.runner import Fuzzer


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("n", type=int, help="how many mutants")
    parser.add_argument("--only", type=int, metavar="K", help="run mutant K alone, with traceback")
    parser.add_argument("--reader", help="damage the file of this reader alone")
    options = parser.parse_args()
    with Fuzzer(options.seed, options.reader) as fuzzer:
        numbers = range(options.n) if options.only is None else [options.only]
        wrong = 0
        for fault in filter(None, map(fuzzer.run, numbers)):
            wrong += 1
            print(fault, flush=True)
            if options.only is not None:
                print(fuzzer.traceback)
        print(f"{len(numbers):,} mutants, seed {options.seed}: {fuzzer.summary()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
