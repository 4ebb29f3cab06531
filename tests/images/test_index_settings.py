"""What pip and uv are configured with on a machine is what a build installs with."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from images.index_settings import index_settings

INDEX = "https://index.example/simple"
OTHER = "https://other.example/simple"

CASES: list[tuple[str, Mapping[str, str], Mapping[str, str], Mapping[str, str]]] = [
    ("nothing is said", {}, {}, {}),
    (
        "the machine's pip.conf",
        {"etc/pip.conf": f"[global]\nindex-url = {INDEX}\ntimeout = 90\n"},
        {},
        {"index-url": INDEX, "timeout": "90"},
    ),
    (
        "the user's pip.conf counts before the machine's",
        {
            "etc/pip.conf": f"[global]\nindex-url = {OTHER}\n",
            "home/me/.config/pip/pip.conf": f"[global]\nindex_url = {INDEX}\n",
        },
        {},
        {"index-url": INDEX},
    ),
    (
        "a variable counts before files",
        {"etc/pip.conf": f"[install]\nindex-url = {OTHER}\n"},
        {"PIP_INDEX_URL": INDEX, "PIP_DEFAULT_TIMEOUT": "30"},
        {"index-url": INDEX, "timeout": "30"},
    ),
    (
        "several further indices, on lines of their own",
        {"etc/pip.conf": f"[global]\nextra-index-url =\n    {INDEX}\n    {OTHER}\n"},
        {},
        {"extra-index-url": f"{INDEX} {OTHER}"},
    ),
    (
        "what names this machine's folders stays here",
        {"etc/pip.conf": "[global]\nfind-links = /wheels\ncache-dir = /cache\n"},
        {},
        {},
    ),
    (
        "uv's file",
        {
            "home/me/.config/uv/uv.toml": (
                f'[[index]]\nurl = "{OTHER}"\n[[index]]\nurl = "{INDEX}"\ndefault = true\n'
            )
        },
        {},
        {"index-url": INDEX, "extra-index-url": OTHER},
    ),
    (
        "uv's variables, with a name for the index",
        {},
        {"UV_DEFAULT_INDEX": f"ours={INDEX}?a=b", "UV_INDEX": OTHER},
        {"index-url": f"{INDEX}?a=b", "extra-index-url": OTHER},
    ),
    (
        "the build uses pip, so pip's index counts before uv's",
        {},
        {"UV_INDEX_URL": OTHER, "PIP_INDEX_URL": INDEX},
        {"index-url": INDEX},
    ),
]


@pytest.mark.parametrize(
    ("why", "files", "variables", "settings"), CASES, ids=[c[0] for c in CASES]
)
def test_settings(
    tmp_path: Path,
    why: str,
    files: Mapping[str, str],
    variables: Mapping[str, str],
    settings: Mapping[str, str],
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert index_settings({"HOME": "/home/me", **variables}, tmp_path) == (settings, None), why


def test_certificates_are_pips_or_else_everybodys(tmp_path: Path) -> None:
    both = {"SSL_CERT_FILE": "/all.pem", "PIP_CERT": "/pip.pem"}
    assert index_settings(both, tmp_path)[1] == Path("/pip.pem")
    assert index_settings({"SSL_CERT_FILE": "/all.pem"}, tmp_path)[1] == Path("/all.pem")
