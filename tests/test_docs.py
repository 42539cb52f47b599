"""What the documentation says can be said: its commands, options and snippets."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from screener_data.cli import app

ROOT = Path(__file__).resolve().parents[1]
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def said(text: str) -> list[list[str]]:
    """The words after each `screener-data` in blocks for a shell, in snippets, and in code within sentences."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.splitlines()] + inline
    found = re.findall(r"(?:^|[\s/\"(])screener-data (?!\[)([a-z][^;|\"\n]*)", "\n".join(lines))
    return [shlex.split(words, comments=True) for words in found]


def wrong(words: list[str]) -> list[str]:
    """What of a command's words the command line would refuse."""
    name, *rest = words
    if name not in COMMANDS:
        return [name]
    if COMMANDS[name].allow_extra_args:
        return []
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}
    return [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_and_option_exists(page: Path) -> None:
    for words in said(page.read_text(encoding="utf-8")):
        assert not wrong(words), f"{page.name}: screener-data {' '.join(words)}"


def test_commands_are_found_and_faults_in_them() -> None:
    text = "say `screener-data init` or\n```sh\nx && screener-data backup --now f; screener-data lod x # --json\n```\n"
    assert [wrong(words) for words in said(text)] == [["--now"], ["lod"], []]
    operating = said((ROOT / "docs" / "operating.md").read_text(encoding="utf-8"))
    assert {"init", "fetch", "run", "schedule", "backup", "restore", "stop"} <= {words[0] for words in operating}


def test_every_command_is_in_the_readme() -> None:
    table = re.findall(r"^\| (`.+?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {word.split()[0] for cell in table for word in re.findall(r"`([^`]+)`", cell)}
    assert set(COMMANDS) <= named


def snippet(language: str) -> str:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_airflow_snippet_is_python() -> None:
    tree = ast.parse(snippet("python"))
    compile(tree, "operating.md", "exec")
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called == imported == {"DAG", "BashOperator"}


def test_the_n8n_workflow_is_whole() -> None:
    flow = json.loads(snippet("json"))
    names = [node["name"] for node in flow["nodes"]]
    assert len(names) == len(set(names)) == len({node["id"] for node in flow["nodes"]})
    for node in flow["nodes"]:
        assert set(node) == {"id", "name", "type", "typeVersion", "position", "parameters"}
    targets = [end["node"] for outputs in flow["connections"].values() for ends in outputs["main"] for end in ends]
    assert set(flow["connections"]) | set(targets) == set(names)
    assert set(targets) == set(names[1:])  # all but the trigger are reached
    assert flow["settings"]["timezone"] == "Asia/Kolkata"
