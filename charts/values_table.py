"""Writes the table of values in the chart's README from the comments of values.yaml.

    python -m charts.values_table      # from the root of the repository

A comment that stands right above a key says what it is. A key whose members have comments of their
own has no row: its comment is for the reader of values.yaml.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path("charts/acereason-operator")
README = CHART / "README.md"
BEGIN, END = "<!-- values -->\n", "<!-- end values -->"

Row = tuple[str, str, str]
"""(path of the value, its default, what it is)."""


class Undocumented(Exception):
    """A value without a comment; the text names it."""


def rows(text: str) -> Iterator[Row]:
    """The rows of a values.yaml. Raises Undocumented."""
    yield from _rows(yaml.compose(text), text.splitlines(), "")


def table(text: str) -> str:
    """The table of a values.yaml, as Markdown."""
    lines = "".join(f"| `{path}` | `{default}` | {said} |\n" for path, default, said in rows(text))
    return f"| value | default | what it is |\n|---|---|---|\n{lines}"


def page(readme: str, values: str) -> str:
    """The README with its table made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(values)}{END}{after}"


def _rows(mapping: yaml.MappingNode, lines: list[str], above: str) -> Iterator[Row]:
    for key, value in mapping.value:
        path = f"{above}{key.value}"
        said = _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and _has_rows(value, lines):
            yield from _rows(value, lines, f"{path}.")
        elif said:
            yield path, _default(value), said
        else:
            raise Undocumented(f"values.yaml: {path} has no comment; say above it what it is")


def _has_rows(mapping: yaml.MappingNode, lines: list[str]) -> bool:
    """Whether members have comments; those of a mapping in braces stand on its line, below its."""
    return not mapping.flow_style and any(
        _comment(lines, key.start_mark.line) for key, _ in mapping.value
    )


def _comment(lines: list[str], line: int) -> str:
    """The comment that ends right above a line, as one paragraph."""
    said: list[str] = []
    while line > 0 and (above := lines[line - 1].strip()).startswith("#"):
        said.insert(0, above.removeprefix("#").strip())
        line -= 1
    return " ".join(said)


def _default(value: yaml.Node) -> str:
    plain = yaml.safe_load(yaml.serialize(value))
    return json.dumps(plain) if not isinstance(plain, str) or not plain else plain


def main() -> None:
    """Write the README."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    README.write_text(page(README.read_text(encoding="utf-8"), values), encoding="utf-8")


if __name__ == "__main__":
    main()
