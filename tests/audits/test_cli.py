"""The command line: errors raised on purpose are one line and exit code 2, help needs no heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from audits import cli
from specref_core.errors import CheckpointError, GeneratorError, InputError, LedgerError


@pytest.mark.parametrize("kind", [InputError, GeneratorError, CheckpointError, LedgerError])
def test_an_error_on_purpose_is_one_line_and_code_2(kind, monkeypatch, capsys):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise kind("the value [bold]x[/bold] was wrong; give another")

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["specref"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "specref: the value [bold]x[/bold] was wrong; give another" in told
    assert "Traceback" not in told


def test_an_error_that_is_a_defect_keeps_its_traceback(monkeypatch):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["specref"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def specref(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def test_help_names_the_commands():
    shown = specref("--help")
    assert shown.exit_code == 0
    assert "run" in shown.stdout
    assert shown.stdout == specref("-h").stdout


def test_help_loads_no_heavy_library():
    program = (
        "import sys; from audits.cli import app\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'matplotlib', 'sympy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert shown.stdout.strip() == "[]", shown.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["run"]])
def test_what_is_not_a_command_is_refused(arguments):
    refused = specref(*arguments)
    assert refused.exit_code == 2
    assert "Traceback" not in refused.output


def test_every_command_documents_itself():
    for command in cli.app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__
