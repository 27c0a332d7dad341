"""`dashtheory rules`: all rules in a line each, or the page of one.

    dashtheory rules --acts loss
    dashtheory rules dash
    dashtheory rules python:mine.py:Mine
    dashtheory rules dash --json

The list is read from the sources, without torch; a page imports the rule.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dashtheory._check import called, choice, fail
from dashtheory._spec import read_text
from dashtheory.command.options import OneLineParser
from dashtheory.rules.listing import RuleLine, moments, rule_lines
from dashtheory.rules.spec import RULES

if TYPE_CHECKING:
    from dashtheory.rules.pages import RuleOption, RulePage
    from dashtheory.rules.told import Block

_MORE = (
    "dashtheory rules NAME tells all of one; in a run: --rules cold,warm,NAME:option=value.\n"
    "All have options of their training: learning_rate= and weight_decay= (a number, or tuned), and\n"
    "warmup_epochs= (over which the step size first rises in every stage)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options.rule, options.acts, json_wanted=options.json)
    except ValueError as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _run(rule: str | None, acts: str, *, json_wanted: bool) -> None:
    console = Console(highlight=False)
    if rule is None:
        if acts:
            choice("--acts", acts, moments())
        lines = rule_lines(acts)
        _show(console, [dataclasses.asdict(line) for line in lines] if json_wanted else _listed(lines))
        return
    if acts:
        fail("--acts", "must come without the name of a rule", repr(acts), "Drop one of them.")
    if read_text(rule, RULES, argument="NAME", own=True).options:
        fail("NAME", "must be a rule without options", repr(rule), "Its page lists them.")
    from dashtheory.rules.pages import rule_page  # imports the rule, and with it torch

    with called(rule="NAME"):
        page = rule_page(rule)
    _show(console, dataclasses.asdict(page) if json_wanted else _paged(page))


def _show(console: Console, what: RenderableType | list[Any] | dict[str, Any]) -> None:
    if isinstance(what, list | dict):
        text = json.dumps(what, indent=2, ensure_ascii=False)
    else:
        with console.capture() as captured:
            console.print(what)
        text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    print(text)  # noqa: T201


def _listed(lines: Sequence[RuleLine]) -> RenderableType:
    table = _table()
    table.add_column()
    table.add_column(max_width=len("evaluation"))  # several words go below one another
    for line in lines:
        table.add_row(Text(line.name, style="bold"), Text(" ".join(line.acts) or "-"), Text(line.summary))
    return Group(table, Text(), Text(f"{len(lines)} rules; the second column says where they act.\n{_MORE}"))


def _paged(page: RulePage) -> RenderableType:
    from dashtheory.rules.pages import MOMENT_WORDS

    parts: list[RenderableType] = [Text.assemble((page.name, "bold"), f"  {page.label}"), Text(page.summary)]
    for block in page.text:
        parts += [Text(), _block(block)]
    formula = page.sections.get("Formula", ())
    parts += _part("Formula", [_block(block) for block in formula])
    parts += _part("Options", _options(page.options))
    acts = [MOMENT_WORDS[moment] for moment in page.acts]
    acts += ["every stage begins with a new learner"] if page.anew else []
    parts += _part("Acts", [Text(line) for line in acts or ["nowhere"]])
    parts += _part("Warm to the bit", [Text(page.inert)] if page.inert else [])
    for name, blocks in page.sections.items():
        if name != "Formula":
            parts += _part(name, [_block(block) for block in blocks])
    laws = _table()
    for law in page.laws:
        laws.add_row("-", Text(law))
    parts += _part("Laws that tests hold for it", [laws] if page.laws else [])
    parts += _part("In Python", [Text(page.place)])
    return Group(*parts)


def _part(name: str, content: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """A heading and what is under it; nothing if that is nothing."""
    content = list(content)
    if content:
        yield from (Text(), Text(name, style="bold"))
        for one in content:
            yield Padding(one, (0, 0, 0, 2))


def _block(block: Block) -> RenderableType:
    return Padding(Text(block.text), (0, 0, 0, 2)) if block.stands else Text(block.text)


def _options(options: Sequence[RuleOption]) -> list[RenderableType]:
    if not options:
        return []
    table = _table()
    for one in options:
        default = "(must be given)" if one.default is None else one.default or "(empty)"
        table.add_row(Text(one.name, style="bold"), Text(default), Text(f"{one.kind}: {one.meaning}"))
    return [table]


def _table() -> Table:
    return Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)


def _parser() -> OneLineParser:
    first = (__doc__ or "").split("\n", 1)[0].replace("`", "")
    parser = OneLineParser(prog="dashtheory rules", description=first, allow_abbrev=False)
    parser.add_argument("rule", nargs="?", metavar="NAME", help="a rule, or your own: python:mine.py:Mine")
    where = ", ".join(moments())
    parser.add_argument("--acts", default="", metavar="WHERE", help=f"only rules that act there: {where}")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser
