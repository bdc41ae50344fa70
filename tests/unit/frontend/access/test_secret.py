import pytest

from frontend.access.secret import check_digest, digest_of, id_of, matches, new_id, new_secret


def test_a_secret_has_its_keys_id_and_matches_its_own_digest_only() -> None:
    secret, other = new_secret("k1"), new_secret("k1")
    digest = digest_of(secret)
    assert id_of(secret.encode()) == "k1"
    assert secret not in digest
    assert matches(secret.encode(), digest)
    assert not matches(other.encode(), digest)
    assert digest_of(secret) != digest


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"drv_",
        b"drv__",
        b"drv_k1_short",
        b"sk-ant-0123456789012345678901234567890123456789",
        b"drv_k 1_" + b"a" * 43,
        b"drv_k1_" + b"a" * 1000,
        "drv_k1_äääääääääääääääääääääääääää".encode(),
        b"drv_k1_" + b"a" * 43 + b"\n",
    ],
)
def test_text_in_another_form_is_no_secret(text: bytes) -> None:
    assert id_of(text) is None


def test_ids_differ() -> None:
    assert new_id() != new_id()


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "plain",
        "$scrypt$ln=30,r=8,p=1$" + "A" * 22 + "$" + "A" * 43,
        "$scrypt$ln=14,r=99,p=1$" + "A" * 22 + "$" + "A" * 43,
        "$scrypt$ln=0,r=8,p=1$" + "A" * 22 + "$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=9$" + "A" * 22 + "$" + "A" * 43,
        "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43,
    ],
)
def test_a_digest_that_costs_too_much_or_is_none_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match=r"digest|cost"):
        check_digest(digest)
