"""Turn a settings model into command-line options: one source for the web form, the command's help and the check.

A model inside a model gives options with its name in front: `ladder pipeline --ladder-num-rungs 5`.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)
KEYWORD = inspect.Parameter.KEYWORD_ONLY


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Option names and fields of a model, models inside it included."""
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield from fields(field.annotation, f"{prefix}{name}_")  # type: ignore[arg-type]
        elif not any(_is_model(part) for part in get_args(field.annotation)):  # a model that may be absent has no options
            yield prefix + name, field


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def parameter(name: str, field: FieldInfo, is_argument: bool) -> inspect.Parameter:
    """One field as a parameter that Typer understands."""
    kind = typer.Argument if is_argument else typer.Option
    default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
    return inspect.Parameter(name, KEYWORD, default=default, annotation=Annotated[field.annotation, kind(help=field.description)])


def build(model: type[Model], values: dict[str, Any], prefix: str = "") -> Model:
    """The settings from option values.

    Raises: typer.BadParameter that names the option, what is wrong with it and what came.
    """
    nested: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            inner: Any = field.annotation
            nested[name] = build(inner, values, f"{prefix}{name}_")
        elif prefix + name in values:
            nested[name] = values[prefix + name]
    try:
        return model(**nested)
    except ValidationError as error:
        lines = [f"{_option(prefix, problem['loc'])}: {problem['msg']}, got {problem['input']!r}" for problem in error.errors()]
        raise typer.BadParameter("; ".join(lines)) from error


def _option(prefix: str, location: tuple[int | str, ...]) -> str:
    return "--" + (prefix + "_".join(map(str, location))).replace("_", "-")


def command(
    model: type[Model],
    run: Callable[..., None],
    help_text: str,
    *,
    argument: str | None = None,
    arguments: Sequence[str] = (),
    extra: list[inspect.Parameter] | None = None,
) -> Callable[..., None]:
    """A function for Typer whose options are the model's fields and `extra`, and which calls `run(settings, **extra values)`.

    `argument` and `arguments` name fields that are given by their place.
    """
    more = extra or []

    def invoke(**values: Any) -> None:
        own = {p.name: values.pop(p.name) for p in more}
        run(build(model, values), **own)

    parameters = [parameter(name, field, name == argument or name in arguments) for name, field in fields(model)] + more
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {p.name: p.annotation for p in parameters}
    invoke.__doc__ = help_text
    return invoke
