# Types in the older way of writing belong to what is tested.
# ruff: noqa: UP007, UP042, UP045
"""The schemas that Pydantic writes for its types, one line of JSON each: `{"name", "schema"}`.

python -m tests.schemas.pydantic_schemas >tests/schemas/pydantic.jsonl
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import pathlib
import re
import sys
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import pydantic
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter
from typing_extensions import TypedDict


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    street: str
    city: str = "Paris"


class Person(BaseModel):
    """A person."""

    name: str = Field(min_length=1, description="Whole")
    age: int = Field(ge=0, le=150)
    addresses: list[Address] = []


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Tree(BaseModel):
    left: Optional[Tree] = None
    right: Optional[Tree] = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool = True


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    a: str


class Aliased(BaseModel):
    some_name: int = Field(alias="someName")


class Described(BaseModel):
    model_config = ConfigDict(title="T", json_schema_extra={"examples": [{"a": 1}]})
    a: Annotated[int, Field(description="d", examples=[1], deprecated=True)]


class Computed(BaseModel):
    width: int

    @pydantic.computed_field
    def area(self) -> int:
        return self.width**2


class Movie(TypedDict, total=False):
    title: str
    year: int


class Point(NamedTuple):
    x: int
    y: int = 0


@dataclass
class Pair:
    left: str
    right: int = 3


TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
    "None": None,
    "Any": Any,
    "object": object,
    "str length": Annotated[str, Field(min_length=2, max_length=9)],
    "str pattern": Annotated[str, Field(pattern=r"^[A-Z]{2}\d+$")],
    "str pattern unanchored": Annotated[str, Field(pattern=r"\d{3}")],
    "str pattern and length": Annotated[str, Field(pattern=r"^\w+$", max_length=20)],
    "str strict": pydantic.StrictStr,
    "constr": pydantic.constr(strip_whitespace=True, to_lower=True, min_length=1),
    "StringConstraints": Annotated[str, pydantic.StringConstraints(max_length=5)],
    "int bounds": Annotated[int, Field(ge=-3, lt=12)],
    "int multiple": Annotated[int, Field(multiple_of=5)],
    "conint": pydantic.conint(gt=10, le=1000),
    "PositiveInt": pydantic.PositiveInt,
    "NonNegativeInt": pydantic.NonNegativeInt,
    "NegativeInt": pydantic.NegativeInt,
    "NonPositiveInt": pydantic.NonPositiveInt,
    "float bounds": Annotated[float, Field(gt=0, le=1)],
    "confloat": pydantic.confloat(ge=-1.5, le=2.25),
    "PositiveFloat": pydantic.PositiveFloat,
    "NonNegativeFloat": pydantic.NonNegativeFloat,
    "NegativeFloat": pydantic.NegativeFloat,
    "FiniteFloat": pydantic.FiniteFloat,
    "Decimal": decimal.Decimal,
    "Decimal digits": Annotated[decimal.Decimal, Field(max_digits=6, decimal_places=2)],
    "Decimal bounds": Annotated[decimal.Decimal, Field(ge=0, le=100)],
    "Fraction": fractions.Fraction,
    "complex": complex,
    "datetime": datetime.datetime,
    "AwareDatetime": pydantic.AwareDatetime,
    "NaiveDatetime": pydantic.NaiveDatetime,
    "PastDatetime": pydantic.PastDatetime,
    "date": datetime.date,
    "FutureDate": pydantic.FutureDate,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "UUID": uuid.UUID,
    "UUID1": pydantic.UUID1,
    "UUID4": pydantic.UUID4,
    "UUID7": pydantic.UUID7,
    "Path": pathlib.Path,
    "FilePath": pydantic.FilePath,
    "DirectoryPath": pydantic.DirectoryPath,
    "NewPath": pydantic.NewPath,
    "Pattern": re.Pattern[str],
    "SecretStr": pydantic.SecretStr,
    "SecretBytes": pydantic.SecretBytes,
    "Json": pydantic.Json[list[int]],
    "JsonValue": pydantic.JsonValue,
    "ByteSize": pydantic.ByteSize,
    "Base64Str": pydantic.Base64Str,
    "Base64UrlStr": pydantic.Base64UrlStr,
    "AnyUrl": pydantic.AnyUrl,
    "HttpUrl": pydantic.HttpUrl,
    "FileUrl": pydantic.FileUrl,
    "WebsocketUrl": pydantic.WebsocketUrl,
    "PostgresDsn": pydantic.PostgresDsn,
    "RedisDsn": pydantic.RedisDsn,
    "MongoDsn": pydantic.MongoDsn,
    "KafkaDsn": pydantic.KafkaDsn,
    "IPv4Address": ipaddress.IPv4Address,
    "IPv6Address": ipaddress.IPv6Address,
    "IPv4Network": ipaddress.IPv4Network,
    "IPv6Network": ipaddress.IPv6Network,
    "IPv4Interface": ipaddress.IPv4Interface,
    "IPv6Interface": ipaddress.IPv6Interface,
    "IPvAnyAddress": pydantic.IPvAnyAddress,
    "IPvAnyNetwork": pydantic.IPvAnyNetwork,
    "list": list,
    "list[str]": list[str],
    "list length": Annotated[list[int], Field(min_length=1, max_length=4)],
    "conlist": pydantic.conlist(str, min_length=2),
    "set[str]": set[str],
    "set length": Annotated[set[int], Field(min_length=1)],
    "frozenset[int]": frozenset[int],
    "deque": deque[int],
    "tuple[int, str]": tuple[int, str],
    "tuple[int, ...]": tuple[int, ...],
    "tuple[()]": tuple[()],
    "NamedTuple": Point,
    "dict": dict,
    "dict[str, int]": dict[str, int],
    "dict[int, str]": dict[int, str],
    "dict[UUID, str]": dict[uuid.UUID, str],
    "dict[Literal, int]": dict[Literal["a", "b"], int],
    "dict[Enum, int]": dict[Colour, int],
    "dict pattern": dict[Annotated[str, Field(pattern="^k[0-9]+$")], bool],
    "dict length": Annotated[dict[str, int], Field(min_length=1, max_length=3)],
    "dict of lists": dict[str, list[dict[str, float]]],
    "OrderedDict": OrderedDict[str, int],
    "Optional[str]": Optional[str],
    "Union": Union[int, str],
    "Union of lists": Union[list[int], list[str]],
    "Union of models": Union[Cat, Dog],
    "discriminated union": Annotated[Union[Cat, Dog], Field(discriminator="kind")],
    "list of discriminated": list[Annotated[Union[Cat, Dog], Field(discriminator="kind")]],
    "Literal": Literal["a", "b", 3, None],
    "Literal one": Literal["only"],
    "Enum": Colour,
    "IntEnum": Level,
    "TypedDict": Movie,
    "dataclass": Pair,
    "model": Person,
    "model nested": list[Person],
    "model recursive": Node,
    "model tree": Tree,
    "model forbids others": Strict,
    "model allows others": Loose,
    "model typed others": Extra,
    "model alias": Aliased,
    "model described": Described,
    "model computed": Computed,
    "RootModel": RootModel[list[int]],
    "RootModel dict": RootModel[dict[str, Address]],
    "union in model": pydantic.create_model("U", value=(Union[int, list[str], None], None)),
    "enum default": pydantic.create_model("E", colour=(Colour, Colour.RED)),
    "model default": pydantic.create_model("D", home=(Address, Address(street="x"))),
    "big int": pydantic.create_model("B", n=(Literal[12345678901234567890], ...)),
}


def main() -> None:
    for name, wanted in TYPES.items():
        adapter = TypeAdapter(wanted)
        schemas = {mode: adapter.json_schema(mode=mode) for mode in ("validation", "serialization")}
        _write(name, schemas["validation"])
        if schemas["serialization"] != schemas["validation"]:
            _write(f"{name} (serialization)", schemas["serialization"])


def _write(name: str, schema: object) -> None:
    sys.stdout.write(json.dumps({"name": name, "schema": schema}, default=str) + "\n")


if __name__ == "__main__":
    main()
