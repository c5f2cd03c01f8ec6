"""The command line: one module a command, printing and errors once, here."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from minisparse import __version__
from minisparse.cli import (
    bench,
    compress,
    cost,
    data,
    demo,
    evaluate,
    export,
    imports,
    inspect,
    reproduce,
    train,
    verify,
)

COMMANDS = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "compress": compress,
    "inspect": inspect,
    "verify": verify,
    "export": export,
    "import": imports,
    "cost": cost,
    "data": data,
    "reproduce": reproduce,
    "bench": bench,
}

OVERVIEW = """\
Neural networks on a weight budget: train one, write it to a file, read it back, say what it costs.

  minisparse demo
  minisparse train --model lenet-300-100 --data mnist --method dropback --budget 20000 --out RUN
  minisparse compress RUN -o model.msp
  minisparse evaluate model.msp --data mnist
  minisparse inspect model.msp
  minisparse verify model.msp
  minisparse cost model.msp
  minisparse reproduce --show
  minisparse bench spmm"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse puts the whole usage in front."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 on success, 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        report = COMMANDS[args.command].run(args)
        width = shutil.get_terminal_size((100, 24)).columns
        print(report.json(args.command) if args.json else report.text(width), flush=True)
    except KeyboardInterrupt as stop:
        print(f"minisparse: stopped{f'; {stop}' if str(stop) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left: nothing to say, and nobody to hear it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, ArithmeticError, OSError, MemoryError) as error:
        if args.traceback:
            raise
        print(f"minisparse {args.command}: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = Parser("minisparse", description=OVERVIEW, formatter_class=style)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__, formatter_class=style)
        command.add_argument("--json", action="store_true", help="print one JSON object: command, rows, summary")
        command.add_argument("--traceback", action="store_true", help="show where an error came from")
        module.add_arguments(command)
    return parser


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
