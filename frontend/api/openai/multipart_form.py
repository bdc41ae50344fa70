"""The multipart form of a transcription."""

from __future__ import annotations

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP

from drover.errors import InvalidRequest

_NO_FORM = "failed to parse multipart form: "


def model_of_form(body: bytes, content_type: str) -> str:
    """The model that the form names.

    Raises InvalidRequest for an invalid form and one without a file or a model, with the messages of Go's
    form parser.
    """
    form = BytesParser(EmailMessage, policy=HTTP).parsebytes(
        b"Content-Type: %b\r\n\r\n" % content_type.encode("latin-1") + body
    )
    if form.get_content_type() != "multipart/form-data":
        raise InvalidRequest(f"{_NO_FORM}request Content-Type isn't multipart/form-data")
    if not form.get_boundary():
        raise InvalidRequest(f"{_NO_FORM}no multipart boundary param in Content-Type")
    if not form.is_multipart():
        raise InvalidRequest(f"{_NO_FORM}multipart: NextPart: EOF")
    files: set[str] = set()
    values: dict[str, str] = {}
    for part in form.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        if part.get_filename() is not None:
            files.add(name)
        else:
            payload = part.get_payload(decode=True)
            values[name] = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
    if "file" not in files:
        raise InvalidRequest("file is required: http: no such file")
    if not values.get("model"):
        raise InvalidRequest("model is required")
    return values["model"]
