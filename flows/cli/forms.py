"""Turn a settings model into command-line options: one source for the web form, the command's help and the check."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def option_parameters(model: type[BaseModel], positional: str | None = None) -> list[inspect.Parameter]:
    """One keyword parameter per field, typed and documented for Typer; `positional` names the one that comes as an argument."""
    return [_parameter(name, field, name == positional) for name, field in model.model_fields.items()]


def _parameter(name: str, field: Any, is_argument: bool) -> inspect.Parameter:
    kind = typer.Argument if is_argument else typer.Option
    declared = Annotated[field.annotation, kind(help=field.description)]
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=declared)


def build(model: type[Model], values: dict[str, Any]) -> Model:
    """The settings, or a usage error that names the field and what is wrong with it."""
    try:
        return model(**values)
    except ValidationError as error:
        problems = "; ".join(f"--{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise typer.BadParameter(problems) from error


def command(
    model: type[Model], run: Callable[..., None], help_text: str, *, positional: str | None = None, extra: list[inspect.Parameter]
) -> Any:
    """A function for Typer whose options are the model's fields and `extra`, and which calls `run(settings, **extra values)`."""

    def invoke(**values: Any) -> None:
        own = {parameter.name: values.pop(parameter.name) for parameter in extra}
        run(build(model, values), **own)

    parameters = option_parameters(model, positional) + extra
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {p.name: p.annotation for p in parameters}
    invoke.__doc__ = help_text
    return invoke
