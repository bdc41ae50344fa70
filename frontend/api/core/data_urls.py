"""Images that stand in a request as `data:` URLs."""

from __future__ import annotations

import base64
import binascii
import re

from drover.errors import InvalidRequest

_IMAGE = re.compile(r"data:(image/(jpeg|jpg|png|webp))?;base64,")


def decoded_image(url: str) -> bytes:
    """Raises InvalidRequest with upstream's text; nothing is downloaded.

    Contract: ollama-contract.md, "OpenAI: chat completions".
    """
    if url.startswith(("http://", "https://")):
        raise InvalidRequest("image URLs are not currently supported, please use base64 encoded data instead")
    found = _IMAGE.match(url)
    if found is None:
        raise InvalidRequest("invalid image input")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("invalid image input") from None
