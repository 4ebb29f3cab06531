"""YAML and JSON in which a number is a number, as it is to kubectl.

PyYAML takes `1e-6` and `3e-05`, which JSON writers and people write, for text: its floats need a
dot. Reading and writing share one rule here, so that text which looks like such a number is written
in quotes and comes back as text.
"""

import json
import re
from typing import Any

import yaml

FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
"""A number with or without a dot, in go-yaml's form (kubectl's)."""


class _Loader(yaml.SafeLoader):
    """Reads plain data."""


class _Dumper(yaml.SafeDumper):
    """Writes plain data."""


for _resolver in (_Loader, _Dumper):
    _resolver.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(rf"(?:{FLOAT})$"), list("-+.0123456789")
    )


def load(text: bytes) -> Any:
    """Plain data of a JSON text or a YAML document. Raises yaml.YAMLError or UnicodeDecodeError.

    JSON is read as JSON: to YAML, a character beyond 16 bits that is escaped is two broken ones.
    """
    try:
        return json.loads(text)
    except ValueError:
        return yaml.load(text, _Loader)


def dump(data: Any) -> bytes:
    """Plain data as YAML in ASCII, in the order of its keys: written as themselves, Unicode's line
    breaks would come back as spaces."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text.encode()
