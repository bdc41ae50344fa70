"""Settings of a process that name certificates."""

from __future__ import annotations

from pathlib import Path

from drover.settings import ProcessSettings
from drover.tls.files import TlsFiles


def files_of(settings: ProcessSettings, certificate: str, key: str, authority: str = "") -> TlsFiles | None:
    """The files that the settings of these names give; None if none is given.

    Raises ValueError if only some are.
    """
    fields = [field for field in (certificate, key, authority) if field]
    given = {field: str(getattr(settings, field)) for field in fields}
    missing = [field for field, path in given.items() if not path]
    if len(missing) == len(fields):
        return None
    if missing:
        raise ValueError(
            f"{' and '.join(settings.names_of(field) for field in missing)}: missing, since "
            f"{' and '.join(settings.flag(field) for field in fields if field not in missing)} is set"
        )
    return TlsFiles(Path(given[certificate]), Path(given[key]), Path(given[authority]) if authority else None)
