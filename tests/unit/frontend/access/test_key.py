import pytest

from frontend.access.key import Key


def test_a_key_without_patterns_may_use_every_model() -> None:
    assert Key("k1", "alice").may_use("qwen3:8b")


@pytest.mark.parametrize(
    ("pattern", "model", "may"),
    [
        ("qwen3*", "qwen3:8b", True),
        ("Gemma3:270m", "gemma3:270M", True),
        ("qwen3*", "llama3:8b", False),
        ("qwen3", "qwen3:8b", False),
        ("qwen3", "qwen3:latest", True),
        ("qwen3", "qwen3", True),
        ("qwen3:latest", "qwen3", True),
        ("*:latest", "qwen3:8b", False),
        ("*:latest", "team/qwen3", True),
        ("qwen3*", "team/qwen3:8b", False),
        ("team/*", "team/qwen3:8b", True),
    ],
)
def test_a_models_name_must_match_one_of_the_patterns(pattern: str, model: str, may: bool) -> None:
    assert Key("k1", "alice", models=("none", pattern)).may_use(model) is may


@pytest.mark.parametrize(
    ("pattern", "model", "names"),
    [
        ("Bot", "bot:latest", True),
        ("bot:latest", "bot", True),
        ("bot:2", "bot:2", True),
        ("bot", "bot:2", False),
        ("bo*", "bot", False),
    ],
)
def test_a_pattern_without_wildcards_names_a_model(pattern: str, model: str, names: bool) -> None:
    assert Key("k1", "alice", models=(pattern,)).names(model) is names
