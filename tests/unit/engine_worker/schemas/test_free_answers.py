"""Free text that does not have a tag in it, as an expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_worker.schemas.free_answers import text_without
from engine_worker.schemas.lark_writer import regex_text


@pytest.mark.parametrize("tag", ["<tool_call>", "<a>", "<"])
@given(data=st.data())
def test_text_without_a_tag_is_all_text_that_does_not_have_it(tag: str, data: st.DataObject) -> None:
    pieces = st.one_of(
        st.sampled_from([tag, tag[:2], tag[:-1], "<", "\n"]), st.text("<tool_c>al\né", max_size=3)
    )
    text = "".join(data.draw(st.lists(pieces, max_size=8)))
    # Python writes code points otherwise.
    pattern = re.sub(
        r"\\x\{([0-9A-F]+)\}", lambda code: f"\\U{int(code[1], 16):08x}", regex_text(text_without(tag))
    )

    assert bool(re.fullmatch(pattern, text)) is (text != "" and tag not in text)
