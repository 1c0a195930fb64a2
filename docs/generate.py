"""Write the generated reference pages, or with `--check` tell which are stale (exit 1).

Sources: `--help` of every command, the tree of errors, the API's own description.
"""  # noqa: INP001 - a script, no package

import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from cyclopts import App
from rich.console import Console

import zegel
from zegel.cli.main import application
from zegel.console.api.app import ROUTES
from zegel.console.api.description import describe
from zegel.errors import ZegelError, error_classes
from zegel.node.config import Config

REFERENCE = Path(__file__).parent / "reference"
MEASURED = Path(__file__).parents[1] / "benchmarks" / "results.json"
_API_HEAD = """\
Every request but `GET /healthz` bears the token: `Authorization: Bearer TOKEN`. The token is
made at first start in `DATA/console/token` (mode 0600). Machine-readable:
[openapi.json](openapi.json), also at `/openapi.json`. Errors: [errors.md](errors.md).
A sample of every document: [samples](samples).
"""
_BENCH_HEAD = """\
Made by `make bench`. Each figure stands beside what limits it, measured in the same run. "Asked"
is what the figure, or its ratio, should reach: on a busy machine it may not. The generator of
the pushes runs on the same cores. `zegel bench --help` names the stages.
"""
_SETTING = re.compile(r"^    (\w+): (\w+) = (.*?)(?:  # (.*))?$", re.MULTILINE)
_MADE = "<!-- Made by docs/generate.py; do not edit. -->\n"

Tree = dict[str, Any]


def cli_page() -> str:
    """Return `--help` of every command."""
    parts = [f"# Commands\n\n{_MADE}"]
    app = application()
    for words in _commands(app, ()):
        sink = io.StringIO()
        console = Console(file=sink, width=88, color_system=None, force_terminal=False)
        app.help_print(words, console=console)
        lines = "\n".join(line.rstrip() for line in sink.getvalue().strip().splitlines())
        title = " ".join(("zegel", *words))
        parts.append(f"## {title}\n\n```text\n$ {title} --help\n{lines}\n```\n")
    return "\n".join(parts)


def _commands(app: App, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    for name in app:
        if not name.startswith("-"):
            yield from _commands(app[name], (*words, name))


def errors_page() -> str:
    """Return the closed catalogue of error codes."""
    for module in pkgutil.walk_packages(zegel.__path__, "zegel."):
        # a zone's start and the migrations of a database do their work when imported
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    lines = [
        f"# Errors\n\n{_MADE}",
        "On stderr: `zegel: CODE: what; where; expected; found`. Over HTTP the same fields as a",
        "problem document (RFC 9457, `application/problem+json`) with `type`, `title`, `status`",
        "and `detail`. 401 and 421 carry the code `refused`, 405 and 406 `usage`.\n",
        "| Code | Exit | HTTP | Meaning | Kind of |",
        "|---|---|---|---|---|",
    ]
    for code, cls in error_classes().items():
        meaning = inspect.getdoc(cls) or ""
        parent = cls.__mro__[1]
        kind = f"`{parent.code}`" if issubclass(parent, ZegelError) else ""
        first = meaning.splitlines()[0]
        lines.append(f"| `{code}` | {cls.exit_code} | {cls.status} | {first} | {kind} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return every setting with its type, default and meaning, from the source of the sections."""
    lines = [
        f"# Settings\n\n{_MADE}",
        "A flag beats `ZEGEL_SECTION_KEY` in the environment, which beats the TOML file of",
        "`zegel serve --config`, which beats the default. An unknown key is exit 2 and named.",
        "Secrets come by file only.\n",
    ]
    for section, kind in get_type_hints(Config).items():
        lines += [f"## [{section}]\n", f"{inspect.getdoc(kind)}\n"]
        lines += ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{key}` | {hint} | `{default}` | {words.strip()} |"
            for key, hint, default, words in _SETTING.findall(inspect.getsource(kind))
        ]
        lines.append("")
    return "\n".join(lines)


def schemas_page() -> str:
    """Return one whole sample of every JSON document that commands and API give."""
    parts = [
        f"# JSON documents\n\n{_MADE}",
        "Each carries its schema's name and number; within a number, keys are only added. Names",
        "are snake_case; 64-bit COSEM values and frame ids are strings.\n",
    ]
    for path in sorted((REFERENCE / "samples").glob("*.json")):
        sample = json.loads(path.read_text(encoding="utf-8"))
        title = sample.get("schema", path.stem) if isinstance(sample, dict) else path.stem
        short = json.dumps(_shortened(sample), indent=2, ensure_ascii=False)
        parts.append(f"## {title}\n\n[whole](samples/{path.name})\n\n```json\n{short}\n```\n")
    return "\n".join(parts)


def _shortened(value: object) -> object:
    """Cut long lists and strings, so that a page can be read."""
    if isinstance(value, dict):
        return {key: _shortened(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shortened(part) for part in value[:2]]
    if isinstance(value, str) and len(value) > 100:
        return value[:100] + "…"
    return value


def benchmarks_page(found: Tree) -> str:
    """Return the figures of the last run of `make bench`, each beside its limit."""
    machine, load = found["machine"], " ".join(f"{value:.2f}" for value in found["load_before"])
    memory = machine["memory"] / 1e9
    parts = [
        f"# Benchmarks\n\n{_MADE}\n{_BENCH_HEAD}",
        f"- machine: {machine['cores']} x {machine['cpu']}, {memory:.0f} GB, {machine['kernel']}",
        f"- Python {machine['python']}, {machine['openssl']}",
        f"- commit: {found['commit'] or 'none'}",
        f"- command: `{found['command']}`",
        f"- run: {found['started']}, {found['seconds']:.0f} s; load averages before it: {load}",
        f"- peers that were not there: {', '.join(found['missing']) or 'none'}\n",
    ]
    stages = dict.fromkeys(line["stage"] for line in found["results"])
    for stage in stages:
        parts.append(f"## {stage}\n")
        if stage in ("e2e", "demo"):
            parts.append(_rates(found["details"][stage]))
        parts.append(
            "| Figure | Value | Beside | Ratio | Asked | Note |\n|---|---|---|---|---|---|"
        )
        lines = [line for line in found["results"] if line["stage"] == stage]
        parts += [_figure(line) for line in lines]
        parts.append("")
    return "\n".join(parts)


def _figure(line: Tree) -> str:
    """Return one row; what is asked and was missed stands out."""
    beside = "" if line["limit"] is None else f"{line['limit']:,g} ({line['peer']})"
    ratio = "" if line["ratio"] is None else f"{line['ratio']:g}"
    asked = "" if line["must"] is None else f"{line['must']}: {'yes' if line['met'] else '**no**'}"
    value = f"{line['value']:,g} {line['unit']}"
    cells = (line["name"], value, beside, ratio, asked, line["note"] or "")
    return f"| {' | '.join(cells)} |"


def _rates(details: Tree) -> str:
    """Return one row per case of a stage that pushes at whole nodes."""
    columns = ["Case", "s", "Receipted", "Stored in the window", "Drain, s"]
    columns += ["Receipt p50, p99, ms", "Queryable p50, p95, ms", "Cores busy, others", "Backlog"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for run in details.get("runs", [details]):
        receipt, queryable = run["receipt_ms"], run["queryable_ms"]
        lines.append(
            f"| {run['name']} | {run['seconds']:g} | {run['confirmed_in_window']:,} "
            f"| {run['stored_in_window']:,} of {run['sent']:,} | {run['drain_s']:.2f} "
            f"| {receipt['p50']:.1f}, {receipt['p99']:.1f} "
            f"| {queryable['p50']:.0f}, {queryable['p95']:.0f} "
            f"| {run['machine_busy']:.0%}, {run['others_busy']:.0%} "
            f"| {'growing' if run['growing'] else 'steady'} |"
        )
    return "\n".join(lines) + "\n"


def api_page(tree: Tree) -> str:
    """Return the routes and documents of the API."""
    parts = [f"# API\n\n{_MADE}\n{_API_HEAD}"]
    for path, item in tree["paths"].items():
        methods = [method for method in ("get", "post") if method in item]
        parts += [_operation(method.upper(), path, item[method]) for method in methods]
    parts.append("## Documents\n")
    parts += [
        _struct(name, schema) for name, schema in sorted(tree["components"]["schemas"].items())
    ]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Tree) -> str:
    lines = [f"## {method} {path}\n", operation["description"], ""]
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["| Parameter | In | Type | Default | Meaning |", "|---|---|---|---|---|"]
        for found in parameters:
            schema = found["schema"]
            default = "required" if found["required"] else f"`{json.dumps(schema.get('default'))}`"
            words = found.get("description", "")
            kind = _type(schema)
            lines.append(f"| `{found['name']}` | {found['in']} | {kind} | {default} | {words} |")
        lines.append("")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"Body: `{kind}`, {_type(content['schema'])}.")
    for status, answer in operation["responses"].items():
        if status != "default":
            for kind, content in answer["content"].items():
                lines.append(f"- {status} `{kind}`: {_type(content['schema'])}")
    return "\n".join(lines) + "\n"


def _struct(name: str, schema: Tree) -> str:
    lines = [f"### {name}\n", schema.get("description", ""), ""]
    lines += ["| Field | Type |", "|---|---|"]
    lines += [f"| `{field}` | {_type(kind)} |" for field, kind in schema["properties"].items()]
    return "\n".join(lines) + "\n"


def _type(schema: Tree) -> str:
    """Write a JSON schema in a few words."""
    kind = schema.get("type", "any")
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        words = f"[{name}](#{name.lower()})"
    elif "anyOf" in schema or "oneOf" in schema:
        words = " or ".join(_type(part) for part in schema.get("anyOf") or schema["oneOf"])
    elif values is not None:
        words = " or ".join(f"`{json.dumps(value)}`" for value in values)
    elif kind == "array":
        words = f"list of {_type(schema['items'])}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        words = f"map to {_type(schema['additionalProperties'])}"
    else:
        words = " or ".join(kind) if isinstance(kind, list) else str(schema.get("format", kind))
    return words


def pages() -> dict[str, str]:
    """Return every generated page by its name."""
    tree = describe(ROUTES)
    measured = MEASURED.read_text(encoding="utf-8") if MEASURED.exists() else ""
    bench = {"benchmarks.md": benchmarks_page(json.loads(measured))} if measured.strip() else {}
    return {
        **bench,
        "api.md": api_page(tree),
        "cli.md": cli_page(),
        "errors.md": errors_page(),
        "schemas.md": schemas_page(),
        "settings.md": settings_page(),
        "openapi.json": json.dumps(tree, indent=2, ensure_ascii=False) + "\n",
    }


def main() -> int:
    """Write the pages, or check them."""
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        words = "stale, run docs/generate.py" if "--check" in sys.argv else "written"
        sys.stderr.write(f"docs/reference/{name}: {words}\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
