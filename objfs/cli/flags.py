"""Commands that take rows of the table of options (`objfs.cli.options`) as flags."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from objfs.cli.options import OPTIONS, SECTION_TITLES, Option, default_text
from objfs.cli.settings import Given, read_mount_options

Function = Callable[..., Any]


class OptionsCommand(click.Command):
    """Keeps the order in which options were given, -o included, and groups them in the help.

    What was given is `Context.obj`, a list of `Given`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note what was given before click loses the order."""
        # mount(8) may end the line with an empty -o.
        if args and args[-1] == "-o":
            args = args[:-1]
        if not {"--help", "-h"} & set(args):
            ctx.obj = self._in_order(ctx, list(args))
        return super().parse_args(ctx, args)

    def _in_order(self, ctx: click.Context, args: list[str]) -> list[Given]:
        """What was given, in order; click itself keeps the order only of repeated options."""
        found, _, order = self.make_parser(ctx).parse_args(args)
        texts = {name: iter(text) for name, text in found.items() if isinstance(text, list)}
        known = {parameter_name(option.name): option for option in OPTIONS}
        given: list[Given] = []
        for parameter in order:
            name = parameter.name or ""
            if name == "words":
                given += read_mount_options(next(texts[name]))
            elif name in known:
                option = known[name]
                text = "true" if option.is_flag else next(texts[name])
                given.append(Given(option, text, option.flag))
        return given

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options by section, with their defaults; those outside the table last."""
        taken = {parameter.name for parameter in self.get_params(ctx)}
        own = [option for option in OPTIONS if parameter_name(option.name) in taken]
        for section, title in SECTION_TITLES.items():
            rows = [
                (f"{one.flag} {one.metavar}".rstrip(), f"{one.help} [{default_text(one)}]")
                for one in own
                if one.section == section
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        with formatter.section("Others"):
            names = {parameter_name(option.name) for option in own}
            records = [
                parameter.get_help_record(ctx)
                for parameter in self.get_params(ctx)
                if parameter.name not in names and isinstance(parameter, click.Option)
            ]
            formatter.write_dl([record for record in records if record])


def parameter_name(name: str) -> str:
    """What click calls the option `name`."""
    return name.replace("-", "_")


def with_options(options: Sequence[Option]) -> Callable[[Function], Function]:
    """Decorates a command's function with rows of the table of options."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            settings: dict[str, Any] = (
                {"is_flag": True}
                if option.is_flag
                else {"multiple": True, "metavar": option.metavar}
            )
            function = click.option(option.flag, help=option.help, **settings)(function)
        return function

    return decorate
