"""Options of the command line come from the settings, and bad values name the option."""

import inspect

import pytest
import typer

from flows.cli import forms
from flows.settings import CrawlSettings, PipelineSettings, SweepSettings


def values_of(model: type[CrawlSettings] | type[PipelineSettings] | type[SweepSettings], **given: object) -> dict[str, object]:
    parameters = [forms.parameter(name, field, False) for name, field in forms.fields(model)]
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, **given}


def test_every_field_is_an_option_with_help() -> None:
    parameters = [forms.parameter(name, field, False) for name, field in forms.fields(PipelineSettings)]
    assert {"crawl_source", "ladder_num_rungs", "sweep_seeds"} <= {p.name for p in parameters}
    assert all(p.annotation.__metadata__[0].help for p in parameters)


def test_defaults_give_the_default_settings() -> None:
    assert forms.build(SweepSettings, values_of(SweepSettings)) == SweepSettings()


def test_nested_settings_are_built_from_prefixed_options() -> None:
    built = forms.build(PipelineSettings, values_of(PipelineSettings, crawl_source="text:x", ladder_num_rungs=3))
    assert (built.crawl.source, built.ladder.num_rungs) == ("text:x", 3)


def test_bad_value_names_the_option_and_what_came() -> None:
    with pytest.raises(typer.BadParameter, match=r"--ladder-num-rungs.*got 0"):
        forms.build(PipelineSettings, values_of(PipelineSettings, crawl_source="text:x", ladder_num_rungs=0))


def test_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        CrawlSettings(source="text:x", max_page=3)  # type: ignore[call-arg]
