"""The table of options as flags of a command, in the order in which they were given."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import click

from objfs.cli.options import OPTIONS, SECTION_TITLES, Option, default_text
from objfs.cli.settings import Given, read_mount_options

WORDS = "words"
"""The parameter behind `-o`."""
STORE = ("store",)
"""Sections of a command that asks a store and mounts nothing."""


def with_options(
    sections: Collection[str] = tuple(SECTION_TITLES), *, also: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the flags of these sections of the table, and of the rows named in `also`.

    The command's class is `WithOptions`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(OPTIONS):
            if option.section not in sections and option.name not in also:
                continue
            settings: dict[str, Any] = (
                {"is_flag": True}
                if option.is_flag
                else {"multiple": True, "metavar": option.metavar}
            )
            function = click.option(option.flag, help=option.help, **settings)(function)
        return function

    return decorate


class WithOptions(click.Command):
    """Keeps the order in which options were given, -o included, and groups them in the help.

    What was given is a list of `Given` in the context's `obj`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what was given in order goes into `ctx.obj`."""
        # mount(8) may end the line with an empty -o.
        if args and args[-1] == "-o" and any(param.name == WORDS for param in self.params):
            args = args[:-1]
        if not {"--help", "-h"} & set(args):
            ctx.obj = self._in_order(ctx, list(args))
        return super().parse_args(ctx, args)

    def _in_order(self, ctx: click.Context, args: list[str]) -> list[Given]:
        """What was given, in order; click itself keeps the order only of repeated options."""
        found, _, order = self.make_parser(ctx).parse_args(args)
        texts = {name: iter(text) for name, text in found.items() if isinstance(text, list)}
        known = {_parameter(option): option for option in OPTIONS}
        given: list[Given] = []
        for parameter in order:
            name = parameter.name or ""
            if name == WORDS:
                given += read_mount_options(next(texts[name]))
            elif name in known:
                option = known[name]
                text = "true" if option.is_flag else next(texts[name])
                given.append(Given(option, text, option.flag))
        return given

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By sections of the table, and then what is the command's own."""
        params = self.get_params(ctx)
        names = {parameter.name for parameter in params}
        for section, title in SECTION_TITLES.items():
            rows = list(_rows(section, names))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        with formatter.section("Others"):
            own = {_parameter(option) for option in OPTIONS}
            records = [
                parameter.get_help_record(ctx)
                for parameter in params
                if parameter.name not in own and isinstance(parameter, click.Option)
            ]
            formatter.write_dl([record for record in records if record])


def _rows(section: str, names: Collection[str | None]) -> Iterator[tuple[str, str]]:
    for option in OPTIONS:
        if option.section == section and _parameter(option) in names:
            flag = f"{option.flag} {option.metavar}".rstrip()
            yield flag, f"{option.help} [{default_text(option)}]"


def _parameter(option: Option) -> str:
    return option.name.replace("-", "_")
