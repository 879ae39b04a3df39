"""The command line: one module a command, imported when it is called, so that `rsmvs --help` is instant.

A command module offers `add_arguments(parser)` and `run(args) -> int`, and imports what is heavy inside `run`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from rsmvs import __version__
from rsmvs.errors import RsmvsError

COMMANDS = {
    "init": "write a commented configuration for a set of images",
    "run": "run a configuration from images to products, or go on where it stopped",
    "simulate": "make a synthetic town with exact truth, seen by virtual satellites",
    "prepare": "turn data sets, runs and relative depth maps into training samples",
    "train": "train a learned matcher",
    "predict": "heights of a prepared set of samples by trained weights",
    "inspect": "tell what an image is: camera, footprint, GSD, view angles",
    "evaluate": "compare a DSM with a reference",
    "compare": "compare two surfaces of one area",
    "export": "write the cameras of a run, adjusted or not, for other programs",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success. A wrong input is one line on standard error and 1."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    passed_on: list[str] = []
    if "--" in arguments:  # argparse would lose what stands there behind options
        end = arguments.index("--")
        arguments, passed_on = arguments[:end], arguments[end + 1 :]
    parser = argparse.ArgumentParser(prog="rsmvs", description="Digital surface models from satellite images.")
    parser.add_argument("--version", action="version", version=f"rsmvs {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    named = next((a for a in arguments if not a.startswith("-")), None)
    for name, help_line in COMMANDS.items():
        command = commands.add_parser(name, help=help_line, description=help_line[0].upper() + help_line[1:] + ".")
        if name == named:
            import_module(f"rsmvs.cli.{name}").add_arguments(command)
    args = parser.parse_args(arguments)
    if passed_on and args.command != "run":
        parser.error(f"'{args.command}' takes no arguments after --")
    args.snakemake = passed_on
    try:
        return import_module(f"rsmvs.cli.{args.command}").run(args)
    except RsmvsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
