"""The forms of a scaling law: what is predicted, with analytic gradients, and where a fit starts.

One module per family; each form is a `Form` record, so that fitting, profiles and forecasts treat them alike. Constants that enter
linearly are not searched for: a start is a choice of the other constants, and the linear ones follow (`linear`).
"""

from collections.abc import Mapping

from lm.law.forms.base import EXPONENTS, LOG_COEFFICIENTS, Constant, Form, Scale
from lm.law.forms.breaks import BNSL
from lm.law.forms.constrained import DATA_CONSTRAINED, effective_tokens
from lm.law.forms.farseer import FARSEER
from lm.law.forms.kaplan import KAPLAN, LOSS_TO_LOSS
from lm.law.forms.linear import EXPONENT_GRID, nonnegative_least_squares
from lm.law.forms.powers import CHINCHILLA, DATA_ONLY, GADRE

FORMS: Mapping[str, Form] = {
    form.name: form for form in (DATA_ONLY, CHINCHILLA, GADRE, KAPLAN, LOSS_TO_LOSS, DATA_CONSTRAINED, FARSEER, BNSL)
}
LADDER_FORMS = (DATA_ONLY.name, CHINCHILLA.name)
"""The forms that are fitted to every ladder."""

__all__ = [
    "BNSL",
    "CHINCHILLA",
    "DATA_CONSTRAINED",
    "DATA_ONLY",
    "EXPONENTS",
    "EXPONENT_GRID",
    "FARSEER",
    "FORMS",
    "GADRE",
    "KAPLAN",
    "LADDER_FORMS",
    "LOG_COEFFICIENTS",
    "LOSS_TO_LOSS",
    "Constant",
    "Form",
    "Scale",
    "effective_tokens",
    "evaluate",
    "get",
    "nonnegative_least_squares",
]


def get(name: str) -> Form:
    """The form of this name. Raises: ValueError naming the forms there are."""
    if name not in FORMS:
        raise ValueError(f"a law's form must be one of {', '.join(FORMS)}; came {name!r}")
    return FORMS[name]


def evaluate(
    form: str, constants: Mapping[str, float], num_params: float | None, num_tokens: float, unique_tokens: float | None = None
) -> float:
    """Loss of a law whose constants are known, e.g. read back from the table of laws. unique_tokens: None means that nothing repeats.

    Raises: ValueError if the form is unknown or needs a model size that did not come.
    """
    return get(form).evaluate(constants, num_params, num_tokens, unique_tokens)
