"""Where pip and uv install from on this machine: a build must be told, and no image may keep it."""

import configparser
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PASSED = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
"""Settings of pip that mean the same inside a build; others name local folders, or tastes."""

CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables with the file of certificates, where pip is told of none."""


def index_settings(
    environ: Mapping[str, str], root: Path = Path("/")
) -> tuple[dict[str, str], Path | None]:
    """Settings for a pip.conf, and the file of certificates to trust, if one is named.

    As pip reads them: the machine's file, the user's, PIP_CONFIG_FILE, variables. uv's index counts
    where pip has none. root: of the file system, for tests.
    """
    user = environ.get("HOME") or "/root"
    home = root / user.lstrip("/")
    config = root / (environ.get("XDG_CONFIG_HOME") or f"{user}/.config").lstrip("/")
    found = _of_uv(environ, [root / "etc/uv/uv.toml", config / "uv/uv.toml"])
    pip = configparser.RawConfigParser()
    files = [root / "etc/pip.conf", home / ".pip/pip.conf", config / "pip/pip.conf"]
    pip.read([*files, environ.get("PIP_CONFIG_FILE", "")], encoding="utf-8")
    for section in ("global", "install"):
        found |= _plain(dict(pip[section]) if pip.has_section(section) else {})
    found |= _plain({k.removeprefix("PIP_"): v for k, v in environ.items() if k.startswith("PIP_")})
    certificates = [found.get("cert"), *(environ.get(name) for name in CERTIFICATES)]
    named = next((Path(path) for path in certificates if path), None)
    return {name: found[name] for name in PASSED if found.get(name)}, named


def _plain(settings: Mapping[str, str]) -> dict[str, str]:
    """Under the names that pip.conf has, each value on one line."""
    names = {name: name.lower().replace("_", "-").removeprefix("default-") for name in settings}
    return {names[name]: " ".join(value.split()) for name, value in settings.items()}


def _of_uv(environ: Mapping[str, str], files: list[Path]) -> dict[str, str]:
    default, further = "", list[str]()
    for file in (file for file in files if file.is_file()):
        settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        for table in (settings, settings.get("pip", {})):
            default = table.get("index-url", default)
            further += table.get("extra-index-url", [])
        for index in settings.get("index", []):
            if index.get("default"):
                default = index["url"]
            else:
                further.append(index["url"])
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or default
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL"):
        further += environ.get(name, "").split()
    return {"index-url": _address(default), "extra-index-url": " ".join(map(_address, further))}


def _address(index: str) -> str:
    """uv lets an index have a name: name=https://..."""
    name, equals, address = index.partition("=")
    return address if equals and "://" not in name else index
