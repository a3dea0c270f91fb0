"""headscript doctor: what is here and what is not."""

from __future__ import annotations

from headscript.cli.options import Json


def doctor(as_json: Json = False) -> None:
    """Show versions, devices, memory, cached models and extras."""
    from headscript.cli.tables import print_diagnosis
    from headscript.cli.terminal import console, print_json
    from headscript.diagnosis import diagnose

    diagnosis = diagnose()
    if as_json:
        print_json(diagnosis)
    else:
        print_diagnosis(console(), diagnosis)
