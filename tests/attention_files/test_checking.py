"""Whether files hold attention: distributions, of a decoder or an encoder."""

from pathlib import Path

import pytest
import torch
from tests.attention_files.files import ids, patterns
from torch import Tensor

from headscript.attention_files import save_attention
from headscript.attention_files.checking import check_text, distributions, is_causal
from headscript.attention_files.importing import read_texts
from headscript.attention_files.text import AttentionText
from headscript.errors import HeadscriptError


def text_of(folder: Path, attention: Tensor, name: str = "a") -> AttentionText:
    file = folder / f"{name}.npz"
    n = attention.shape[-1]
    save_attention(file, attention, ids(n))
    (text,) = read_texts(file)
    return text


def changed(at: tuple[int, ...], value: float) -> Tensor:
    attention = patterns(6)
    attention[at] = value
    return attention


@pytest.mark.parametrize(
    ("attention", "told"),
    [
        (changed((1, 2, 3, 0), float("nan")), "L01H02 in .* has NaN or infinity"),
        (changed((0, 1, 3, 0), float("inf")), "L00H01 in .* has NaN or infinity"),
        (patterns(6) - 0.2, "L00H00 in .* has weights below 0, as scores have before the softmax"),
        (patterns(6).mT, "columns that sum to 1, and rows that do not; swap its last two axes"),
        (changed((1, 0, 4), 0.0), "L01H00 in .*: row 4 sums to 0, not 1"),
        (patterns(8)[..., 1:, 1:], r"L00H00 in .*: row 0 sums to 0\.\d+, not 1"),
        (changed((0, 0, 2, 1), 1e30), "row 2 sums to 1e.30"),
    ],
)
def test_what_is_no_attention_is_named(attention: Tensor, told: str, tmp_path: Path) -> None:
    with pytest.raises(HeadscriptError, match=told):
        check_text(text_of(tmp_path, attention))


@pytest.mark.parametrize("digits", [2, 3, 4, 7])
def test_rounding_in_the_file_is_no_mistake(digits: int, tmp_path: Path) -> None:
    exact = patterns(6)
    text = text_of(tmp_path, torch.round(exact, decimals=digits))
    check_text(text)
    for layer, weights in enumerate(distributions(text, causal=True)):
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-6)
        assert torch.allclose(weights, exact[layer], atol=8 * 10.0**-digits)


def test_rounding_excuses_only_so_much(tmp_path: Path) -> None:
    uniform = torch.full((1, 1, 90, 90), 1 / 90).tril()
    uniform /= uniform.sum(-1, keepdim=True)
    check_text(text_of(tmp_path, uniform.half()))
    with pytest.raises(HeadscriptError, match=r"row .* sums to 0\.9"):
        check_text(text_of(tmp_path, torch.round(uniform, decimals=2)))
    # A row that lost weight though all others have every digit.
    lost = patterns(6)
    lost[0, 0, 5] *= 0.995
    with pytest.raises(HeadscriptError, match=r"row 5 sums to 0\.995"):
        check_text(text_of(tmp_path, lost))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_no_mistake(dtype: torch.dtype, tmp_path: Path) -> None:
    text = text_of(tmp_path, patterns(30).to(dtype).float())
    check_text(text)
    for weights in distributions(text, causal=True):
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-6)


def test_the_kind_of_model_shows_or_is_said(tmp_path: Path) -> None:
    decoder = check_text(text_of(tmp_path, patterns(6), "decoder"))
    encoder = check_text(text_of(tmp_path, patterns(6, causal=False), "encoder"))
    assert decoder.causal
    assert not encoder.causal
    assert is_causal([decoder, decoder], None)
    assert not is_causal([encoder, encoder], None)
    assert is_causal([decoder], True)
    assert not is_causal([decoder], False)
    assert not is_causal([decoder, encoder], False)
    with pytest.raises(HeadscriptError, match=r"gives weight 0\.\d+ to a later token in .*encoder"):
        is_causal([decoder, encoder], True)
    with pytest.raises(HeadscriptError, match="are they of one model"):
        is_causal([decoder, encoder], None)
