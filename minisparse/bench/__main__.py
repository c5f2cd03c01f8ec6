"""A benchmark in a process of its own: prints one JSON object, {"error": ...} if it fails. See process.py."""

import argparse
import json
import sys

from minisparse.bench import BENCHES
from minisparse.bench.run import run


def main() -> None:
    parser = argparse.ArgumentParser("minisparse.bench")
    parser.add_argument("name", choices=BENCHES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--only", type=json.loads, default={})
    args = parser.parse_args()
    try:
        result = run(BENCHES[args.name], args.quick, args.threads, not args.quiet, args.only)
    except (ValueError, ArithmeticError, OSError, MemoryError) as error:
        result = {"error": str(error) or type(error).__name__}
    except KeyboardInterrupt:  # the process that waits for this one was stopped too, and says so
        sys.exit(130)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
