"""Who does the work of a run: processes of this machine, or a Ray cluster.

Work is items by name, "search 5"; what an item finds is a file of the run, written by the worker.
"""

from headscript.engines.engine import Engine
from headscript.engines.opening import ENGINES, LOCAL, EngineSettings, open_engine

__all__ = ["ENGINES", "LOCAL", "Engine", "EngineSettings", "open_engine"]
