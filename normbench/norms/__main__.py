"""`normbench norms` prints the table of all norms, `normbench norms mabn` one.

Those of installed packages are included.
"""

import inspect
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from normbench import norms, plugins
from normbench.config import ConfigError

WIDTH = 150  # where the output is no terminal


def table() -> Table:
    """A row per name: what it normalizes over, whether batch-free, options, paper."""
    found = Table(title="norm=...", title_justify="left", row_styles=("", "dim"))
    for heading in ("name", "one statistic is over", "batch-free", "options (norm.<option>=...)", "paper"):
        found.add_column(heading)
    for name in norms.names():
        try:
            layer, options = norms.layer(name), plugins.schema(name)
        except ConfigError as e:  # of a package that is installed but broken; the others still work
            found.add_row(name, f"[red]{escape(str(e))}[/]")
            continue
        shown = [f"{key}={short(options[key])}" for key in plugins.options(name)]
        free = "yes" if layer.batch_free else "no"
        found.add_row(name, escape(layer.over), free, escape(", ".join(shown)), escape(layer.paper))
    return found


def page(name: str) -> str:
    """What one norm is, by its docstring, and its options, by its yaml."""
    layer, schema, meanings = norms.layer(name), plugins.schema(name), plugins.meanings(name)
    lines = [inspect.getdoc(layer) or "", "", "Options"]
    for key in plugins.options(name):
        lines.append(f"    norm.{key}={short(schema[key])}")
        lines += [f"        {line}" for line in meanings[key]]
    return "\n".join(lines if plugins.options(name) else lines[:1])


def short(value: object) -> str:
    """As it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and "${" in value:
        return "by the model"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> None:
    """Prints the pages of the norms named, or the table of all; raises ConfigError for no norm."""
    if arguments:
        print("\n\n".join([page(name) for name in arguments]))
        return
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(1)
