"""Model names: what is one, and how it is shown."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.names import DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName

_FIRST = string.ascii_letters + string.digits + "_"


def _part(extra: str, longest: int = 80) -> st.SearchStrategy[str]:
    return st.builds(
        str.__add__, st.sampled_from(_FIRST), st.text(alphabet=_FIRST + "-" + extra, max_size=longest - 1)
    )


NAMES = st.builds(
    ModelName,
    st.one_of(st.just(DEFAULT_HOST), _part(".:", 350)),
    st.one_of(st.just(DEFAULT_NAMESPACE), _part("")),
    _part("."),
    _part("."),
)


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("llama3.2", "llama3.2:latest", "registry.ollama.ai/library/llama3.2:latest"),
        ("llama3.2:1b", "llama3.2:1b", "registry.ollama.ai/library/llama3.2:1b"),
        ("_m", "_m:latest", "registry.ollama.ai/library/_m:latest"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest", "registry.ollama.ai/Qwen/Qwen3-8B:latest"),
        ("library/m", "m:latest", "registry.ollama.ai/library/m:latest"),
        ("registry.ollama.ai/library/m:x", "m:x", "registry.ollama.ai/library/m:x"),
        ("hf.co/Org/Repo:Q4_K_M", "hf.co/Org/Repo:Q4_K_M", "hf.co/Org/Repo:Q4_K_M"),
        ("host:5000/ns/m:t", "host:5000/ns/m:t", "host:5000/ns/m:t"),
        ("https://hf.co/Org/Repo", "hf.co/Org/Repo:latest", "hf.co/Org/Repo:latest"),
        ("m" * 80, "m" * 80 + ":latest", "registry.ollama.ai/library/" + "m" * 80 + ":latest"),
    ],
)
def test_a_valid_name_and_its_spellings(text: str, short: str, full: str) -> None:
    name = ModelName.parse(text)

    assert name is not None
    assert (name.short, name.full) == (short, full)


_NO_NAMES = [
    "http://smol",
    "http://x/smol",
    "https://a/b/c/d",
    "ftp://",
    "",
    " ",
    "a b",
    "-m",
    ".m",
    "m:",
    ":t",
    "m:-t",
    "m:a:b",
    "/m",
    "ns/",
    "a.b/m",
    "/ns/m",
    "host//m",
]
_NO_NAMES += ["a/b/c/d", "../../etc/passwd", "mod\u00e8le", "m\n", "m:t\n", "m\u0660", "m@t", "\ud800", "m\0"]
_NO_NAMES += ["m" * 81, "m:" + "t" * 81, "n" * 81 + "/m", "h" * 351 + "/n/m"]


@pytest.mark.parametrize("text", _NO_NAMES)
def test_invalid_names(text: str) -> None:
    assert ModelName.parse(text) is None


def test_names_are_compared_without_letter_case_and_shown_as_written() -> None:
    one, other = ModelName.parse("HF.co/Org/Repo:Q4"), ModelName.parse("hf.co/org/repo:q4")

    assert one is not None
    assert other is not None
    assert one.key == other.key
    assert one.short == "HF.co/Org/Repo:Q4"


@given(NAMES)
def test_the_short_and_the_full_form_name_the_same_model(name: ModelName) -> None:
    assert ModelName.parse(name.short) == name
    assert ModelName.parse(name.full) == name


@pytest.mark.parametrize(
    ("stem", "short"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct.Q4_1:latest"),
        ("my model (v2)", "my-model-v2-:latest"),
        (".hidden", "hidden:latest"),
        ("日本", "model:latest"),
        ("", "model:latest"),
        ("x" * 100, "x" * 80 + ":latest"),
    ],
)
def test_a_name_made_from_a_file(stem: str, short: str) -> None:
    assert ModelName.from_file_name(stem).short == short


@given(st.text())
def test_any_file_gives_a_valid_name(stem: str) -> None:
    name = ModelName.from_file_name(stem)

    assert ModelName.parse(name.short) == name


@given(st.text())
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = ModelName.parse(text)

    assert name is None or ModelName.parse(name.short) == name
