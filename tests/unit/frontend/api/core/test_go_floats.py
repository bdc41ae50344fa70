"""Floats in Go's digits. What is the shortest text is worked out here with fractions."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frontend.api.core.go_values import float32_array, float32_text, float64_array, float64_text

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
_LARGEST_BITS = 0x7F7FFFFF
# Their neighbour below is nearer than the one above, and the shortest text is not the nearest of its length.
_LOPSIDED = {2.0**-96, 2.0**87, 2.0**90}


def _float32(value: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    assert isinstance(rounded, float)
    return rounded


def _of_bits(bits: int) -> Fraction:
    if bits > _LARGEST_BITS:
        return Fraction(2**128)
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return Fraction(value)


def _reads_back(decimal: Fraction, value: float) -> bool:
    """Whether the decimal is nearer to `value` (above 0) than to any other; a tie goes to the even one."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    below = (_of_bits(bits - 1) + _of_bits(bits)) / 2
    above = (_of_bits(bits) + _of_bits(bits + 1)) / 2
    return below <= decimal <= above if bits % 2 == 0 else below < decimal < above


def _neighbours(value: float, digits: int) -> list[Fraction]:
    """The decimals with so many digits at most that are nearest to `value` (above 0) on either side."""
    unit = Fraction(10) ** (Decimal(value).adjusted() - digits + 1)
    below = Fraction(value) // unit * unit
    return [below, below + unit]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-1.0, "-1"),
        (0.5883484, "0.5883484"),
        (0.78446454, "0.78446454"),
        (0.59999996, "0.59999996"),
        (0.1, "0.1"),
        (16777216.0, "16777216"),
        (1e10, "10000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (3.4028e38, "3.4028e+38"),
        (0.00001, "0.00001"),
        (0.000001, "0.000001"),
        (9.9999994e-07, "9.999999e-7"),
        (1e-7, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (1.401298464324817e-45, "1e-45"),
    ],
)
def test_floats_as_go_writes_them(value: float, text: str) -> None:
    assert float32_text(_float32(value)) == text


@given(FLOATS)
def test_a_text_reads_back_as_the_same_float(value: float) -> None:
    read = _float32(float(float32_text(value)))

    assert read == value
    assert math.copysign(1, read) == math.copysign(1, value)


@given(st.floats(width=32, min_value=2**-149, allow_infinity=False))
@example(2.0**-149)
@example(2.0**127)
@example(1.0)
def test_fewer_digits_do_not_and_none_of_its_length_is_nearer(value: float) -> None:
    if value in _LOPSIDED:
        return
    text = Decimal(float32_text(value))
    digits = len(text.normalize().as_tuple().digits)
    written, exact = Fraction(text), Fraction(value)

    assert _reads_back(written, value)
    assert digits == 1 or not any(_reads_back(other, value) for other in _neighbours(value, digits - 1))
    for other in _neighbours(value, digits):
        assert abs(other - exact) >= abs(written - exact) or not _reads_back(other, value)


@pytest.mark.parametrize("exponent", range(-149, 128))
def test_powers_of_two_have_an_uneven_neighbourhood(exponent: int) -> None:
    value = 2.0**exponent
    digits = len(Decimal(float32_text(value)).normalize().as_tuple().digits)

    can_be_shorter = digits > 1 and any(_reads_back(other, value) for other in _neighbours(value, digits - 1))

    assert can_be_shorter == (value in _LOPSIDED)


@given(FLOATS)
def test_a_sign_is_all_that_a_negative_one_has_more(value: float) -> None:
    texts = {float32_text(value), float32_text(-value)}

    assert {text.lstrip("-") for text in texts} == {min(texts, key=len)}


@given(st.integers(-(2**24), 2**24))
def test_whole_numbers_have_no_point(number: int) -> None:
    assert float32_text(float(number)) == str(number)


def test_an_array() -> None:
    assert float32_array([]) == b"[]"
    assert float32_array([3.0, -0.5, 0.25]) == b"[3,-0.5,0.25]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-0.01275787502527237, "-0.01275787502527237"),
        (1e-5, "0.00001"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (1e16, "10000000000000000"),
        (1e21, "1e+21"),
    ],
)
def test_64_bit_floats(value: float, text: str) -> None:
    assert float64_text(value) == text
    assert float64_array([value, value]) == f"[{text},{text}]".encode()
