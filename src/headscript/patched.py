"""A model with some of its heads replaced for good: to be used, saved and loaded like any other.

    network = headscript.load_run("runs/demo").model(replace=0.25)
    network.generate(...)
    network.save_pretrained("demo-25")
    network = headscript.load_patched("demo-25")

A saved folder is a model folder as transformers writes it, of the untouched weights, and beside
them `headscript/`: the programs, one file a head, and which model they are for. transformers alone
loads the untouched model from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import PreTrainedModel

from headscript.assignment import assign, check_model
from headscript.disk import clear_disk_errors, write_atomically
from headscript.errors import HeadscriptError
from headscript.events import Listener, ignore
from headscript.heads import Head
from headscript.models import Model, load_model
from headscript.models.attention import mixing
from headscript.models.weights import file_hash, weight_files
from headscript.programs.loading import load_program
from headscript.programs.program import Program
from headscript.replacement import Replacement
from headscript.versions import VOCABULARY_VERSION

if TYPE_CHECKING:
    from headscript.runs import Run

FORMAT = 1
"""Of the folder; grows when an older headscript could not read a newer one, or the reverse."""

_FOLDER = "headscript"
_RECORD = "assignment.json"


class Patch:
    """What was done to a network; found on it as `network.headscript`."""

    def __init__(
        self, model: Model, assignment: Mapping[Head, Program], *, allow_inconsistent: bool = False
    ) -> None:
        self.model = model
        """The network with its tokenizer."""
        self.assignment = dict(assignment)
        """The replaced heads and their programs."""
        self.allow_inconsistent = allow_inconsistent
        self._open = ExitStack()
        network: Any = model.network
        source = Replacement(model, self.assignment, allow_inconsistent)
        self._open.enter_context(mixing(network, source))
        network.headscript, network.save_pretrained = self, self.save
        self._open.callback(delattr, network, "headscript")
        self._open.callback(delattr, network, "save_pretrained")

    def __repr__(self) -> str:
        return f"Patch({len(self.assignment)} of {len(self.model.heads)} heads)"

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise HeadscriptError(
            "A model with replaced heads cannot be copied: the programs would not come along; "
            "undo it first (network.headscript.undo()), or load it once more."
        )

    def undo(self) -> None:
        """Make the network what it was before; more than once does no harm."""
        self._open.close()

    def save(self, save_directory: str | Path, **options: Any) -> None:
        """Write model, tokenizer and programs: the network's `save_pretrained` while it is patched.

        `options` are those of transformers' `save_pretrained`. The record of the programs is
        written last, so that a folder without it is no patched model.
        """
        if options.get("push_to_hub"):
            raise HeadscriptError(
                "A model with replaced heads cannot be pushed while it is saved, for its programs "
                "would stay behind; save it, and upload the folder."
            )
        network = self.model.network
        folder = Path(save_directory)
        place = folder / _FOLDER
        with clear_disk_errors(folder):
            (place / _RECORD).unlink(missing_ok=True)
            type(network).save_pretrained(network, folder, **options)
            self.model.tokenizer.save_pretrained(str(folder))
            for stale in place.glob("L*.py"):
                stale.unlink()
        for head, program in self.assignment.items():
            program.save(place / f"{head}.py")
        record = _Record.model_validate(
            {
                "format": FORMAT,
                "headscript": version_of("headscript"),
                "vocabulary": VOCABULARY_VERSION,
                "weights_hash": _hash_of(folder),
                "dtype": str(network.dtype).removeprefix("torch."),
                "heads": [str(head) for head in self.assignment],
                "allow_inconsistent": self.allow_inconsistent,
            }
        )
        write_atomically(place / _RECORD, (record.model_dump_json(indent=1) + "\n").encode())


class _Record(BaseModel):
    """The contents of headscript/assignment.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: int
    headscript: str
    """The version that wrote it."""
    vocabulary: int
    weights_hash: str
    """SHA-256 of config.json and the weight files beside it."""
    dtype: Literal["float32", "float64", "float16", "bfloat16"]
    """Of the network that was saved."""
    heads: tuple[str, ...]
    """The replaced heads; the program of each is in a file of its name."""
    allow_inconsistent: bool


def patched_model(
    run: Run,
    replace: float = 0.25,
    *,
    version: str | None = None,
    order: str | None = None,
    edits: Sequence[tuple[Head, Path]] | Mapping[Head, Path] = (),
    model: str | Path | Model | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    allow_inconsistent: bool = False,
    on_event: Listener = ignore,
) -> PreTrainedModel:
    """The network of a run's model with a share of its heads replaced by the run's programs.

    `version`, `order` and `edits` are as for `headscript.assignment.assign`. `model` says where the
    run's model is, or is that model, where its own name does not lead there; `dtype` None is
    float32. `network.headscript` knows what was replaced, and undoes it.

    Raises HeadscriptError for a fraction outside 0 to 1, an unknown version or order, a program
    that the gate refuses or that is not prefix-consistent, and another model than the run's.
    """
    assignment = assign(run, replace, version=version, order=order, edits=edits)
    if not isinstance(model, Model):
        model = load_model(
            model or run.model_name,
            device=device,
            dtype=dtype or torch.float32,
            on_event=on_event,
        )
    check_model(run, model)
    return Patch(model, assignment, allow_inconsistent=allow_inconsistent).model.network


def load_patched(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    on_event: Listener = ignore,
) -> PreTrainedModel:
    """Load a model that was saved with heads replaced; gives the same logits as it did.

    `dtype` None is that of the model when it was saved. A program that was edited meanwhile is
    taken as it is now, if the gate lets it through. Raises HeadscriptError where there is no such
    model, its files are damaged or of another version, its weights are not those it was saved with,
    and where the gate refuses a program, naming its line.
    """
    folder = Path(folder).expanduser()
    record = _read_record(folder)
    assignment = {
        Head.parse(name): load_program(folder / _FOLDER / f"{name}.py") for name in record.heads
    }
    if _hash_of(folder) != record.weights_hash:
        raise HeadscriptError(
            f"The weights or the configuration in {folder} are not those that the programs were "
            "saved with; restore them, or patch and save the model anew."
        )
    dtype = getattr(torch, record.dtype) if dtype is None else dtype
    model = load_model(folder, device=device, dtype=dtype, on_event=on_event)
    return Patch(model, assignment, allow_inconsistent=record.allow_inconsistent).model.network


def _hash_of(folder: Path) -> str:
    try:
        return file_hash(folder / "config.json", *weight_files(folder))
    except OSError as error:
        raise HeadscriptError(
            f"{folder} cannot be read: {error.strerror or error}; is it a model folder?"
        ) from error


def _read_record(folder: Path) -> _Record:
    file = folder / _FOLDER / _RECORD
    if not file.is_file():
        raise HeadscriptError(
            f"{folder} holds no model with replaced heads (no {_FOLDER}/{_RECORD}); name a folder "
            "that such a model was saved to."
        )
    damaged = HeadscriptError(f"{file} is damaged; restore it, or patch and save the model anew.")
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged from error
    made_by = (FORMAT, VOCABULARY_VERSION)
    if isinstance(found, dict) and (found.get("format"), found.get("vocabulary")) != made_by:
        raise HeadscriptError(
            f"{file} was written by another version of headscript, {found.get('headscript')!r}; "
            "load it with that one, or patch the model anew."
        )
    try:
        record = _Record.model_validate(found)
        if any(str(Head.parse(name)) != name for name in record.heads):
            raise damaged
    except (ValidationError, HeadscriptError) as error:
        raise damaged from error
    return record
