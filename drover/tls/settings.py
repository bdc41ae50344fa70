"""Settings of a process that name certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from drover.settings import ProcessSettings
from drover.tls.files import TlsFiles


class FleetTlsSettings(ProcessSettings):
    """Of a process that takes part in mutual TLS. The fields `fleet_tls_certificate`, `_key` and `_authority`
    are its class's own, since their help differs, and their place among its other fields.
    """

    @model_validator(mode="after")
    def _whole_fleet_tls(self) -> Self:
        self._fleet_files()
        return self

    @property
    def fleet_tls(self) -> TlsFiles | None:
        """None where the other tier is not reached, or served, with TLS."""
        return self._fleet_files()

    def _fleet_files(self) -> TlsFiles | None:
        return files_of(self, "fleet_tls_certificate", "fleet_tls_key", "fleet_tls_authority")


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
