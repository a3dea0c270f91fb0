"""Small real networks whose attention heads are built to compute known patterns.

Nothing is trained or drawn at random. The residual stream of a token has one number for each word
of the vocabulary and, where the network has absolute positions, one for each position: a 1 at its
word, a 1 at its position, 0 elsewhere. All tokens then have one norm, so that a norm with the right
scale is the identity, and a head is a list of channels (query direction, key direction): the score
of a pair is the sum over channels of what the query has of the one times what the key has of the
other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from headscript.heads import Head

Channel = tuple[Tensor, Tensor]
"""Directions (width,) of the stream: of the query, of the key."""

SHARP = 25.0
"""A score that leaves all else nothing."""
LENGTH = 48
"""Positions of the networks."""

NAMES = "Tom Lily Ben Anna".split()
PRONOUNS = "he she they it".split()
SPEECH = "said asked cried".split()
VERBS = "saw found took liked".split()
NOUNS = "cat dog ball tree boat hat bird moon".split()
ADJECTIVES = "red big old".split()
PREPOSITIONS = "to with under".split()
OTHERS = "the a and but then soon".split()
WORDS = NAMES + PRONOUNS + SPEECH + VERBS + NOUNS + ADJECTIVES + PREPOSITIONS + OTHERS
OPENINGS = "The She He They Then".split()
"""Capitalised at the start of a sentence."""


@dataclass(frozen=True)
class Planted:
    """A network with its tokenizer, and the pattern that each of its heads was built for."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    heads: dict[Head, str]

    def save(self, folder: Path) -> Path:
        """Write both as a model folder."""
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder


def stories(number: int, *, seed: int = 0) -> list[str]:
    """Made-up texts of the words above, of some 30 to 45 tokens."""
    draw = random.Random(seed)

    def thing() -> str:
        adjective = f" {draw.choice(ADJECTIVES)}" if draw.random() < 0.4 else ""
        return f"{draw.choice(['the', 'a'])}{adjective} {draw.choice(NOUNS)}"

    def someone() -> str:
        return draw.choice([draw.choice(NAMES), draw.choice(PRONOUNS), thing()])

    def clause() -> str:
        adverb = draw.choice(["", "", " then", " soon"])
        end = f" {draw.choice(PREPOSITIONS)} {someone()}" if draw.random() < 0.5 else ""
        if draw.random() < 0.5:
            return f"{someone()}{adverb} {draw.choice(SPEECH)}{end}"
        return f"{someone()}{adverb} {draw.choice(VERBS)} {thing()}{end}"

    def sentence() -> str:
        words = clause()
        if draw.random() < 0.6:
            words += f", {draw.choice(['and', 'but'])} {clause()}"
        if words.split(maxsplit=1)[0].title() not in [*NAMES, *OPENINGS]:
            words = f"then {words}"
        return words[0].upper() + words[1:] + "."

    return [" ".join(sentence() for _ in range(draw.randint(3, 4))) for _ in range(number)]


# Decoders ----------------------------------------------------------------------------------------


def planted_gpt2() -> Planted:
    """Two layers: all that positions and words can tell, and in the second what needs the first."""
    tokenizer = _spaced_tokenizer()
    stream = _Stream(tokenizer, width=1024, positions=LENGTH, copies=True)
    places = torch.arange(float(LENGTH))
    rising = places @ stream.position_table
    first_layer = {
        "previous": [*stream.offset(-1)],
        "first": [(stream.always, SHARP * stream.at(0))],
        "same": [
            *stream.sameness(),
            *((-2 * SHARP * stream.at(p), stream.at(p)) for p in range(LENGTH)),
            (stream.always, SHARP / 2 * stream.at(0)),
        ],
        "comma": [(stream.always, 12 * LENGTH * stream.words([","]) + 6 * rising)],
        "uniform": [],
        "decay": [(stream.always, 0.3 * rising)],
        "power": [  # 1 / distance, which is no sum over query and key: a channel a position
            (stream.at(q), -1.5 * (places - q).abs().add(1).log() @ stream.position_table)
            for q in range(LENGTH)
        ],
        "speech": [
            (stream.words(SPEECH), 8 * stream.words(PRONOUNS) + 0.3 * rising),
            (stream.always - stream.words(SPEECH), SHARP * stream.at(0)),
        ],
    }
    second_layer = {
        "induction": [
            *stream.sameness_to_copy(),
            (stream.always, SHARP / 2 * stream.at(0)),
        ],
    }
    heads = len(first_layer)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=LENGTH,
        n_embd=stream.width,
        n_layer=2,
        n_head=heads,
        n_inner=1,
        bos_token_id=None,
        eos_token_id=None,
    )
    network: Any = GPT2LMHeadModel(config)
    blocks = network.transformer.h
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.transformer.wte.weight.copy_(stream.word_table)
        network.transformer.wpe.weight.copy_(stream.position_table)
        for layer, (block, plan) in enumerate(
            zip(blocks, (first_layer, second_layer), strict=True)
        ):
            ones = 2 + layer  # word and position, and in the second layer the word before
            scale, shift = _identity_norm(ones, stream.width, config.layer_norm_epsilon)
            block.ln_1.weight.fill_(scale)
            block.ln_1.bias.fill_(shift)
            size = stream.width // heads
            for head, channels in enumerate(plan.values()):
                queries, keys = _projections(channels, stream.width, size)
                first = head * size
                block.attn.c_attn.weight[:, first : first + size] = queries
                second = stream.width + first
                block.attn.c_attn.weight[:, second : second + size] = keys
        # The first head hands the word it sees on, to where the second layer looks for it.
        value = blocks[0].attn.c_attn.weight[:, 2 * stream.width :]
        for word in range(len(tokenizer)):
            value[:, word] = stream.word_table[word]
            blocks[0].attn.c_proj.weight[word] = stream.copy_table[word]
    planned = {Head(0, head): name for head, name in enumerate(first_layer)}
    planned |= {Head(1, head): name for head, name in enumerate(second_layer)}
    return Planted(network.eval(), tokenizer, planned)


def planted_llama() -> Planted:
    """One layer of four heads in two groups that share keys, with rotary positions and a <s>."""
    tokenizer = _spaced_tokenizer(opening="<s>")
    stream = _Stream(tokenizer, width=128)
    size, base = 128, 1e8
    half = size // 2
    rates = base ** (-torch.arange(half) / half)  # radians a token, of coordinates i and i + half
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=stream.width,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=size,
        max_position_embeddings=LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": base},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    network: Any = LlamaForCausalLM(config)
    queries = torch.zeros(4, stream.width, size)
    keys = torch.zeros(2, stream.width, size)
    # By position: each coordinate pair gives cos(rate * (distance - 1)), together a peak at 1.
    turning = [i for i in range(half) if rates[i] > 1e-2]
    for i in turning:
        queries[0, :, i] = 15 * stream.always
        keys[0, :, i] = torch.cos(rates[i]) * stream.always
        keys[0, :, i + half] = torch.sin(rates[i]) * stream.always
    # By word: coordinates that turn too slowly to matter.
    still = [i for i in range(half) if rates[i] < 2e-4]
    still += [i + half for i in still]
    for place, word in zip(still, range(len(tokenizer)), strict=False):
        queries[1, :, place] = SHARP * stream.word_table[word]
        keys[0, :, place] = stream.word_table[word]
    opening = stream.words(["<s>"])
    for place, direction in zip(still, (opening, stream.words(PRONOUNS)), strict=False):
        keys[1, :, place] = direction
    queries[2, :, still[0]] = SHARP * stream.always
    queries[3, :, still[0]] = SHARP / 2 * stream.always
    queries[3, :, still[1]] = SHARP * stream.words(SPEECH)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.model.embed_tokens.weight.copy_(stream.word_table + stream.always)
        layer = network.model.layers[0]
        layer.input_layernorm.weight.fill_(math.sqrt(2 / stream.width + config.rms_norm_eps))
        layer.self_attn.q_proj.weight.copy_(torch.cat([q.T for q in queries]) * math.sqrt(size))
        layer.self_attn.k_proj.weight.copy_(torch.cat([k.T for k in keys]))
    names = ("previous", "same or itself", "first", "speech to all pronouns")
    return Planted(
        network.eval(), tokenizer, {Head(0, head): name for head, name in enumerate(names)}
    )


# Encoder -----------------------------------------------------------------------------------------


def planted_bert() -> Planted:
    """One layer that looks both ways, with [CLS] and [SEP] around the text."""
    tokenizer = _word_piece_tokenizer()
    stream = _Stream(tokenizer, width=512, positions=LENGTH)
    opening, ending = stream.words(["[CLS]"]), stream.words(["[SEP]"])
    plan = {
        "next": [*stream.offset(1), (SHARP / 2 * ending, ending)],
        "previous": stream.offset(-1),
        "[CLS]": [(stream.always, SHARP * opening)],
        "same": [
            *stream.sameness(),
            *((-2 * SHARP * stream.at(p), stream.at(p)) for p in range(1, LENGTH)),
            (stream.always, SHARP / 2 * opening),
        ],
    }
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=stream.width,
        num_hidden_layers=1,
        num_attention_heads=len(plan),
        intermediate_size=1,
        max_position_embeddings=LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )
    network: Any = BertForMaskedLM(config)
    size = stream.width // len(plan)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        embeddings = network.bert.embeddings
        embeddings.word_embeddings.weight.copy_(stream.word_table)
        embeddings.position_embeddings.weight.copy_(stream.position_table)
        scale, shift = _identity_norm(2, stream.width, config.layer_norm_eps)
        embeddings.LayerNorm.weight.fill_(scale)
        embeddings.LayerNorm.bias.fill_(shift)
        attention = network.bert.encoder.layer[0].attention.self
        for head, channels in enumerate(plan.values()):
            queries, keys = _projections(channels, stream.width, size)
            attention.query.weight[head * size : (head + 1) * size] = queries.T
            attention.key.weight[head * size : (head + 1) * size] = keys.T
    return Planted(
        network.eval(), tokenizer, {Head(0, head): name for head, name in enumerate(plan)}
    )


# Parts -------------------------------------------------------------------------------------------


class _Stream:
    """Directions of a residual stream: words, positions, copies of words, one that all share."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        width: int,
        positions: int = 0,
        copies: bool = False,
    ) -> None:
        self.width = width
        self.vocabulary = tokenizer.get_vocab()
        size = len(tokenizer)
        directions = torch.eye(width)
        self.word_table, self.position_table, self.copy_table, rest = directions.split(
            [size, positions, copies * size, width - size - positions - copies * size]
        )
        # A token is at one position, so all positions together are a constant.
        self.always = self.position_table.sum(0) if positions else rest[0]

    def at(self, place: int) -> Tensor:
        row: Tensor = self.position_table[place]
        return row

    def words(self, words: Sequence[str]) -> Tensor:
        """1 for tokens of these words, with or without a leading space or a capital."""
        wanted = {word.lower() for word in words}
        ids = [n for token, n in self.vocabulary.items() if token.strip().lower() in wanted]
        together: Tensor = self.word_table[ids].sum(0)
        return together

    def offset(self, step: int) -> list[Channel]:
        """From each position to the one `step` further."""
        pairs = ((place, place + step) for place in range(LENGTH))
        return [(self.at(q), SHARP * self.at(k)) for q, k in pairs if 0 <= k < LENGTH]

    def sameness(self) -> list[Channel]:
        """Key and query are one word."""
        return [(SHARP * word, word) for word in self.word_table]

    def sameness_to_copy(self) -> list[Channel]:
        """The word that was copied to the key is the query's."""
        return [(SHARP * a, b) for a, b in zip(self.word_table, self.copy_table, strict=True)]


def _projections(channels: Sequence[Channel], width: int, size: int) -> tuple[Tensor, Tensor]:
    """Query and key projections (width, size) of a head whose scores are divided by sqrt(size)."""
    queries, keys = torch.zeros(width, size), torch.zeros(width, size)
    for place, (query, key) in enumerate(channels):
        queries[:, place], keys[:, place] = math.sqrt(size) * query, key
    return queries, keys


def _identity_norm(ones: int, width: int, epsilon: float) -> tuple[float, float]:
    """Scale and shift with which a layer norm leaves a token of that many ones as it is."""
    mean = ones / width
    return math.sqrt(mean - mean**2 + epsilon), mean


def _spaced_tokenizer(*, opening: str | None = None) -> PreTrainedTokenizerFast:
    """A token a word, its leading space included; `opening` is put before every text."""
    words = [f" {word}" for word in (*WORDS, *OPENINGS)] + [*NAMES, *OPENINGS, ",", "."]
    special = ["<unk>", *([opening] if opening else [])]
    numbers = {word: number for number, word in enumerate([*special, *words])}
    core = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[,.]"), "isolated")
    if opening is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A", special_tokens=[(opening, numbers[opening])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token=opening)


def _word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case words as an encoder's tokenizer has them, between [CLS] and [SEP]."""
    words = [word.lower() for word in WORDS] + [",", ".", "##s"]
    numbers = {w: n for n, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    core = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, numbers[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
