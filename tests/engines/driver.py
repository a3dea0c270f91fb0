"""A process that does items of a run: driver.py RUN ENGINE ADDRESS ITEM ...; a line for each."""

import sys

from headscript.engines import EngineSettings, open_engine
from headscript.runs import Run

if __name__ == "__main__":
    folder, name, address, *items = sys.argv[1:]
    run = Run.open(folder)
    with open_engine(EngineSettings(name, 1, address or None), run) as engine:
        for item in engine.run(items):
            sys.stdout.write(f"{item}\n")
            sys.stdout.flush()
