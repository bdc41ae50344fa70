"""Rows of the differing requests whose answer still is another one, by their number and with the reason.

A row of DELIBERATE or PENDING whose answer does not differ any more fails the test.
"""

from __future__ import annotations

_GRAMMAR = (
    "the constraint is kept by a grammar of our own, whose white space and choice of values is another; both "
    "answers keep the schema"
)
_SLASHES = "a model's name may have a slash, as `/v1/models` lists it, and is found under it"
_STRUCTS = (
    "`.Function` and `.Parameters` print as JSON, for which the library's templates of Qwen2.5 were written; "
    "the recorded version prints Go's struct"
)
DELIBERATE: dict[int, str] = {
    **dict.fromkeys((2, 198, 199, 200, 201, 204, 205, 207, 212, 213, 218, 219, 220, 223), _GRAMMAR),
    12: "a call that was cut at the length is not shown",
    **dict.fromkeys((50, 51), _SLASHES),
    98: "models of other hosts are the operator's to name: `remote_host` is refused with the reason",
    **dict.fromkeys((135, 136, 146, 147, 148), _STRUCTS),
}
# To be mended; empty it.
PENDING: dict[int, str] = {
    **dict.fromkeys((171, 189), "tools in a GGUF's own template, under a preset with a template"),
    194: "one prompt longer than `num_ctx` with `num_keep`",
    203: "`typical_p` at temperature 0",
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
    245: "the CLI's show and create: tests/clients, test_what_show_prints_makes_the_same_model",
}
