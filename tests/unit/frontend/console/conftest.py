"""The frontend of the API's tests."""

from tests.unit.frontend.api.conftest import start

__all__ = ["start"]
