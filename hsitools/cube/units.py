"""Units of values, however files spell them: which are the same."""

from __future__ import annotations

import re

#: Words for numbers without a unit, and for hundredths.
REFLECTANCE, PERCENT = ("1", "reflectance", "unitless", "dimensionless"), ("%", "percent", "pct")
#: Characters that are written in other ways.
SPELLINGS = str.maketrans("µμ⁻¹²³·*.", "uu-123   ", "^")
#: A stroke or a bracket, or a unit with its exponent.
PART = re.compile(r"(?P<mark>[/()])|(?P<name>[a-z]+)(?P<exponent>[-+]?\d+)?|\s+")


def powers(units: str) -> dict[str, int]:
    """Exponent of each unit in a product of them; a text that is none stands for itself.

    Examples
    --------
    >>> powers("W/(m^2 sr um)") == powers("W m-2 sr-1 µm⁻¹") == {"w": 1, "m": -2, "sr": -1, "um": -1}
    True
    """
    # small letters would make milliwatts of megawatts
    text = re.sub(r"\bMW", "megaW", units.strip()).lower().replace("**", "^").translate(SPELLINGS)
    if text in REFLECTANCE:
        return {}
    if text in PERCENT:
        return {"%": 1}
    exponents: dict[str, int] = {}
    # whether what follows is divided by, in each bracket that is open: behind a stroke all is that has no minus
    divided, end = [False], 0
    for part in PART.finditer(text):
        if part.start() != end:
            break
        end = part.end()
        if part["mark"] == "/":
            divided[-1] = True
        elif part["mark"] == "(":
            divided.append(divided[-1])
        elif part["mark"] == ")":
            divided = divided[:-1] or [False]
        elif part["name"]:
            exponent = int(part["exponent"] or 1)
            exponent = -exponent if divided[-1] and exponent > 0 else exponent
            exponents[part["name"]] = exponents.get(part["name"], 0) + exponent
    return exponents if end == len(text) else {text: 1}
