"""Loading a model, and making sure that its attention is seen as it is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.language.text import TextReader
from headscript.language.vocabulary import NEED_EMBEDDINGS
from headscript.models.builtin import BUILT_IN, built_in_folder
from headscript.models.gguf import dequantised
from headscript.models.probe import context_length, probe
from headscript.models.weights import file_hash, first_line, quiet, tensor_hash, weight_files

if TYPE_CHECKING:
    from headscript.programs.program import Program


@dataclass(frozen=True, eq=False)
class Model:
    """A pretrained network with its tokenizer and what is known of its attention."""

    name: str
    """What the person asked for: a built-in name, a path or a hub id."""
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    heads_per_layer: tuple[int, ...]
    """Query heads of each layer; 0 for a layer without attention heads."""
    causal: bool
    """Whether no token attends to a later one, as seen on a probe."""
    max_tokens: int
    """The longest text the model takes, in tokens."""
    weights_hash: str
    """SHA-256 of configuration and weights, as hexadecimal."""

    @classmethod
    def of(
        cls,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "unnamed",
        weights_hash: str | None = None,
    ) -> Model:
        """Wrap a network that is at hand; it is put in evaluation mode and probed.

        Raises HeadscriptError where its attention cannot be reached, or reaching it changes it.
        """
        network.eval()  # type: ignore[no-untyped-call]
        found = probe(network)
        return cls(
            name=name,
            network=network,
            tokenizer=tokenizer,
            heads_per_layer=found.heads_per_layer,
            causal=found.causal,
            max_tokens=context_length(network, tokenizer),
            weights_hash=tensor_hash(network) if weights_hash is None else weights_hash,
        )

    @property
    def heads(self) -> list[Head]:
        """All query heads, sorted."""
        return [
            Head(layer, head) for layer, n in enumerate(self.heads_per_layer) for head in range(n)
        ]

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        return self.network.device

    @property
    def embedding_table(self) -> Tensor:
        """The input embeddings (vocabulary, width), on the CPU; shared with the network there."""
        embeddings: Any = self.network.get_input_embeddings()
        table: Tensor = embeddings.weight.detach().cpu()
        return table

    def reader(self, programs: Iterable[Program]) -> TextReader:
        """What makes token ids into the texts that these programs look at."""
        needed = any(program.entries & NEED_EMBEDDINGS for program in programs)
        table = self.embedding_table if needed else None
        return TextReader(self.tokenizer, causal=self.causal, embedding_table=table)

    def encode(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Token ids of a text, with the tokenizer's own special tokens, cut to `max_tokens`.

        None means whole. Raises HeadscriptError where the model does not take that many tokens.
        """
        if max_tokens is not None and not 0 < max_tokens <= self.max_tokens:
            raise HeadscriptError(
                f"Texts cannot be cut to {max_tokens} tokens: {self.name} takes 1 to "
                f"{self.max_tokens}."
            )
        with quiet():
            ids: list[int] = self.tokenizer(
                text, truncation=max_tokens is not None, max_length=max_tokens
            )["input_ids"]
        if len(ids) > self.max_tokens:
            raise HeadscriptError(
                f"A text of {len(ids)} tokens is longer than the {self.max_tokens} that "
                f"{self.name} takes; shorten it, or have texts cut "
                f"(--max-tokens {self.max_tokens})."
            )
        return ids


def load_model(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    on_event: Listener = ignore,
) -> Model:
    """Load a model: a built-in name, a Hugging Face folder, a .gguf file, or a hub id.

    `device` is a torch device, or "auto" to spread the layers over what is there. Every load checks
    that opening the attention leaves the output as it was and shows all layers.

    Raises HeadscriptError where there is no such model, its files are broken, or its architecture
    does not dispatch through transformers' AttentionInterface.
    """
    source, digest = _locate(name, on_event)
    on_event(Event("loading", 0, 0, f"loading {name}"))
    config = _attempt(name, "configuration", lambda: AutoConfig.from_pretrained(source))
    if config.is_encoder_decoder:
        raise HeadscriptError(
            f"{name} is an encoder-decoder; headscript explains decoders (causal language models) "
            "and encoders."
        )
    tokenizer = _attempt(name, "tokenizer", lambda: AutoTokenizer.from_pretrained(source))
    network = _load_network(name, source, config, device, dtype)
    if digest is None:
        digest = _hub_hash(source, network)
    on_event(Event("loading", 0, 0, f"checking the attention of {name}"))
    return Model.of(network, tokenizer, name=str(name), weights_hash=digest)


def load_tokenizer(
    name: str | Path, *, on_event: Listener = ignore
) -> tuple[PreTrainedTokenizerBase, bool]:
    """The tokenizer of a model, named as for `load_model`, and whether the model is a decoder.

    Raises HeadscriptError where there is no such model or its files are broken.
    """
    source, _ = _locate(name, on_event)
    config = _attempt(name, "configuration", lambda: AutoConfig.from_pretrained(source))
    return read_tokenizer(source), _auto_class(config) is AutoModelForCausalLM


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder; raises HeadscriptError where it cannot be read."""
    found: PreTrainedTokenizerBase = _attempt(
        folder, "tokenizer", lambda: AutoTokenizer.from_pretrained(str(folder))
    )
    return found


def _locate(name: str | Path, on_event: Listener) -> tuple[str, str | None]:
    """Where transformers finds the model, and the hash of its weights where the files are here."""
    if str(name) in BUILT_IN:
        folder, digest = built_in_folder(str(name), on_event=on_event)
        return str(folder), digest
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        folder, digest = dequantised(path, on_event=on_event)
        return str(folder), digest
    if path.is_dir():
        files = weight_files(path)
        if not (path / "config.json").is_file() or not files:
            missing = (
                "weights (*.safetensors)" if (path / "config.json").is_file() else "config.json"
            )
            hint = "; name the .gguf file itself" if list(path.glob("*.gguf")) else ""
            raise HeadscriptError(f"The folder {path} holds no model: it has no {missing}{hint}.")
        # The configuration counts: another rope base or window makes other attention.
        return str(path), file_hash(path / "config.json", *files)
    if path.exists():
        raise HeadscriptError(f"{path} is neither a model folder nor a .gguf file.")
    # A misspelt built-in name is told at once, not after asking a hub that may not answer.
    misspelt = "/" not in str(name) and _nearest(str(name)) is not None
    if isinstance(name, Path) or path.suffix == ".gguf" or misspelt or not _may_be_hub_id(name):
        raise HeadscriptError(f"There is no model at {path}; {_names_that_work(str(name))}")
    return name, None


def _may_be_hub_id(name: str) -> bool:
    return name.count("/") <= 1 and not name.startswith((".", "/", "~")) and "\\" not in name


def _nearest(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name.lower(), BUILT_IN, n=1)), None)


def _names_that_work(name: str) -> str:
    near = _nearest(name)
    if near is not None:
        return f"did you mean {near}?"
    return f"name a built-in model ({', '.join(BUILT_IN)}), a folder, a .gguf file or a hub id."


def _load_network(
    name: str | Path,
    source: str,
    config: PreTrainedConfig,
    device: str | torch.device,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """Read the weights into the class the model was saved from, so that none is missing."""
    wanted = {"device_map": "auto"} if device == "auto" else {}
    network, report = _attempt(
        name,
        "weights",
        lambda: _auto_class(config).from_pretrained(
            source, dtype=dtype, output_loading_info=True, **wanted
        ),
    )
    # A pooler is a head on top that checkpoints of masked models leave out; no pattern needs it.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise HeadscriptError(
            f"The weights of {name} are incomplete: {len(missing)} tensors are missing, first "
            f"{missing[0]}; fetch the model anew."
        )
    if device != "auto":
        try:
            network.to(device)
        except (RuntimeError, AssertionError) as error:
            raise HeadscriptError(
                f"The device {device} cannot be used: {first_line(error)}; try cpu."
            ) from error
    result: PreTrainedModel = network
    return result


def _auto_class(config: PreTrainedConfig) -> Any:
    """The auto class whose head the checkpoint has: causal, masked, or none."""
    for architecture in config.architectures or ():
        if architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
            return AutoModelForCausalLM
        if architecture.endswith(("ForMaskedLM", "ForPreTraining")):
            return AutoModelForMaskedLM
    return AutoModel


def _hub_hash(source: str, network: PreTrainedModel) -> str:
    """Hash the downloaded files, so that a model has one hash whichever way it came."""
    config_file = cached_file(source, "config.json", local_files_only=True)
    if config_file is None:
        return tensor_hash(network)
    files = weight_files(Path(config_file).parent)
    return file_hash(Path(config_file), *files) if files else tensor_hash(network)


def _attempt(name: str | Path, what: str, read: Callable[[], Any]) -> Any:
    """Read a part of a model; whatever transformers raises becomes one sentence."""
    try:
        with quiet():
            return read()
    except Exception as error:  # the readers of transformers raise what they like
        here = str(name) in BUILT_IN or Path(name).exists()
        advice = "the file may be damaged." if here else _names_that_work(str(name))
        raise HeadscriptError(
            f"The {what} of {name} could not be loaded ({first_line(error)}); {advice}"
        ) from error
