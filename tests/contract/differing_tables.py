"""Rows of the differing requests whose answer still is another one, by their number and with the reason.

A row of DELIBERATE whose answer does not differ any more fails the test.
"""

from __future__ import annotations

_GRAMMAR = "the constraint is kept by a grammar of our own, whose white space and choice of values is another"
_SLASHES = "a model's name may have a slash, as `/v1/models` lists it, and is found under it"
_STRUCTS = (
    "`.Function` and `.Parameters` print as JSON, for which the library's templates of Qwen2.5 were written; "
    "the recorded version prints Go's struct"
)
_ORDER = (
    "objects within a call's arguments keep the order in which the model wrote them, so that the next prompt "
    "begins with what is in the KV cache; the recorded server sorts them"
)
_TYPICAL = (
    "`typical_p` takes the tokens that are nearest to the entropy: at 0.48 the answer begins like the "
    "recorded one, so near that another build's arithmetic decides; the samplers are llama.cpp's in its order"
)
# Rows whose answer is other JSON that keeps the schema, and the keyword that X-Drover-Not-Honoured names.
KEPT_SCHEMAS = {
    **dict.fromkeys((2, 198, 199, 200, 205, 207, 219, 220, 223), ""),
    **dict.fromkeys((201, 213), "not"),
    204: "maxLength",
    212: "dependencies",
    218: "minimum",
}
# Rows whose prompt is the same but for the order of keys within calls.
NESTED_ORDER = (171, 189)
SHORTENED = 194
DELIBERATE: dict[int, str] = {
    **dict.fromkeys(KEPT_SCHEMAS, _GRAMMAR),
    12: "a call that was cut at the length is not shown",
    **dict.fromkeys((50, 51), _SLASHES),
    98: "models of other hosts are the operator's to name: `remote_host` is refused with the reason",
    **dict.fromkeys((135, 136, 146, 147, 148), _STRUCTS),
    **dict.fromkeys(NESTED_ORDER, _ORDER),
    SHORTENED: "`context` holds what the model has seen, the shortened prompt; the recorded one is whole",
    203: _TYPICAL,
}
# What cannot be asked again, and which test asserts it.
NOT_REPLAYED: dict[int, str] = {
    22: "a stream that was recorded cut, so that its lines cannot be joined: row 21 asks for the whole",
    **dict.fromkeys(
        (31, 32, 195, 196), "the request was recorded cut: rows 191 to 193 ask for the same length"
    ),
    107: "a list of another server's models: test_manage.py, test_a_name_stays_as_it_was_first_written",
    **dict.fromkeys(
        (241, 242), "the CLI prints what test_differing.py, test_capabilities_of_a_gguf, asks for"
    ),
    243: "the CLI creates a model with a draft, which is refused: test_create_checks.py",
    244: 'the CLI\'s `LICENSE ""`: test_create_checks.py, test_an_empty_licence_is_one_in_a_list',
    245: "the CLI's show and create: tests/clients, test_the_modelfile_of_show_creates_the_same_model",
}
