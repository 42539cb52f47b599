"""The project's own files agree with each other and hold nothing of one machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- one home for each dependency


def test_environment_yml_adds_nothing_to_pyproject() -> None:
    conda = yaml.safe_load(read("environment.yml"))
    assert conda["channels"] == ["conda-forge"]
    assert conda["dependencies"] == [f"python{PROJECT['requires-python']}", "pip", {"pip": ["-e .[dev]"]}]


def pins() -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in read("constraints.txt").splitlines()]
    return [Requirement(line) for line in lines if line]


def test_constraints_are_bare_pins_without_an_address() -> None:
    assert "://" not in read("constraints.txt")
    assert not re.search(r"^\s*-", read("constraints.txt"), re.MULTILINE)  # no option, such as an index
    for pin in pins():
        assert [one.operator for one in pin.specifier] == ["=="], pin


@pytest.mark.parametrize("python", ["3.11.0", "3.11.15", "3.12.0", "3.13.0"])
def test_every_dependency_is_pinned_once_and_within_its_range(python: str) -> None:
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    pinned: dict[str, str] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(here):
            assert canonicalize_name(pin.name) not in pinned, f"{pin.name} is pinned twice for {python}"
            pinned[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    for text in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"]):
        wanted = Requirement(text)
        assert canonicalize_name(wanted.name) in pinned, f"{text}: run `make lock`"
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, f"{text}: run `make lock`"


def test_the_migrations_folder_does_not_shadow_alembic() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


# --- the two commands


def test_readme_sets_up_with_two_commands() -> None:
    assert "make run" in read("README.md")
    assert "make test" in read("README.md")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("word", ["run", "test", "faults", "bench", "lint", "lock", "clean"])
def test_make_hands_each_word_to_dev_py(word: str) -> None:
    command = ["make", "--dry-run", "--always-make", "PYTHON=python3", word]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(command, cwd=ROOT, env=bare, check=True, capture_output=True, text=True).stdout
    assert told.split("\n") == [f"python3 dev.py {word}", ""]
    assert f"    {word} " in read("dev.py")


def test_what_runs_alone_is_there() -> None:
    names = re.findall(r'^    "(test_\w+)",$', read("tests/conftest.py"), re.MULTILINE)
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert names
    assert [name for name in names if f"\ndef {name}(" not in code] == []


def test_ci_runs_both_commands() -> None:
    script = ROOT / ".ci" / "run"
    commands = [line.partition("#")[0].strip() for line in read(".ci/run").splitlines()]
    assert {"make run", "make test"} <= set(commands)
    for file in (script, script.with_name("postgres")):
        assert os.access(file, os.X_OK)
        subprocess.run(["bash", "-n", str(file)], check=True)


# --- docker


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return loaded


def test_compose_has_a_database_that_lasts_and_is_asked_for_its_health() -> None:
    database = compose()["services"]["db"]
    assert database["image"] == "postgres:18"
    assert "pg_isready" in database["healthcheck"]["test"][1]
    volume, _, folder = database["volumes"][0].partition(":")
    assert folder == "/var/lib/postgresql"  # where the image has kept its data since 18
    assert volume in compose()["volumes"]
    assert compose()["services"]["lab"]["depends_on"] == {"db": {"condition": "service_healthy"}}


def test_compose_opens_ports_to_this_machine_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service["ports"]]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_takes_credentials_from_the_environment_only() -> None:
    for service in compose()["services"].values():
        for name, value in service["environment"].items():
            assert "${" in value, name
            literal = re.sub(r"\$\{[^}]*\}", "", value)
            assert literal in ("", "postgresql+psycopg2://:@db:5432/"), name
            if name.endswith(("PASSWORD", "TOKEN", "URL")):
                assert ":?" in value, f"{name} must have no default"


def test_env_example_names_every_setting_and_holds_no_secret() -> None:
    example = read(".env.example")
    named = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z_]+)", read("docker-compose.yml"))) <= set(named)
    assert {named["POSTGRES_PASSWORD"], named["JUPYTER_TOKEN"]} == {""}
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", read("docker-compose.yml")):
        assert named[name] == default, name


# --- nothing of one machine

# Written so that the patterns do not match themselves.
MACHINE = re.compile(
    r"/(?:wor[k]|far[m]|roo[t])/|/(?:hom[e]|User[s])/[a-z]"
    r"|python[h]osted|py[p]i\.org|npm[j]s\.|deb\.deb[i]an"
)


@pytest.mark.parametrize(
    "text",
    ["/wor" + "k/main", "/roo" + "t/x", "/hom" + "e/anna", "https://files.python" + "hosted.org", "py" + "pi.org"],
)
def test_the_pattern_of_machines_finds(text: str) -> None:
    assert MACHINE.search(f"see {text} there")


@pytest.mark.skipif(not ((ROOT / ".git").exists() and shutil.which("git")), reason="needs a git checkout")
def test_no_file_names_a_path_of_a_machine_or_a_registry() -> None:
    words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    command = ["git", "-c", f"safe.directory={ROOT}", *words]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    found = []
    for name in names:
        file = ROOT / name
        if not name or not file.is_file():
            continue
        raw = file.read_bytes()
        if b"\0" in raw:  # not text
            continue
        for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert "dev.py" in names
    assert not found, "\n".join(found)
