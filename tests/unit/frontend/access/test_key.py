from frontend.access.key import Key


def test_a_key_without_patterns_may_use_every_model() -> None:
    assert Key("k1", "alice").may_use("qwen3:8b")


def test_a_models_name_must_match_one_of_the_patterns() -> None:
    key = Key("k1", "alice", models=("qwen3*", "Gemma3:270m"))
    assert key.may_use("qwen3:8b")
    assert key.may_use("gemma3:270M")
    assert not key.may_use("llama3:8b")
