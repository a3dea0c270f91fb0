"""The command line: one command a file, and the rules that all of them share.

A mistake that a person can mend is one sentence on standard error and exit code 2; an interrupt is
exit code 130. With `--json` a command writes one JSON object to standard output and nothing else.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headscript.cli.doctor import doctor
from headscript.cli.evaluate import evaluate
from headscript.cli.explain import explain
from headscript.cli.figures import figures
from headscript.cli.generate import generate
from headscript.cli.import_ import import_
from headscript.cli.library import app as library
from headscript.cli.match import match
from headscript.cli.record import record
from headscript.cli.replace import replace
from headscript.cli.report import report
from headscript.cli.score import score
from headscript.cli.show import show
from headscript.cli.study import study
from headscript.cli.try_ import try_
from headscript.cli.tune import tune
from headscript.errors import HeadscriptError

app = typer.Typer(
    name="headscript",
    help="Every attention head of a language model as a short Python program.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(explain)
app.command()(show)
app.command()(score)
app.command("try")(try_)
app.command()(tune)
app.command()(evaluate)
app.command()(replace)
app.command()(report)
app.command()(generate)
app.command()(figures)
app.command()(match)
app.command()(record)
app.add_typer(library, name="library")
app.command("import")(import_)
app.command()(study)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from headscript import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except HeadscriptError as error:
        print(f"headscript: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # one that comes before or after a command
        sys.exit(130)
