"""``specref lm-eval``: the command line of lm-evaluation-harness, with SpecRef generators as its models."""

from __future__ import annotations

import sys

import typer

from specref_core.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command; everything after its name goes to the harness as it stands, ``--help`` too."""
    passes_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("lm-eval", context_settings=passes_on)(lm_eval)


def lm_eval(context: typer.Context) -> None:
    """Run lm-evaluation-harness with the model specref registered.

    As in: specref lm-eval --model specref --model_args generator=pkg.mod:make,steps=32 --tasks gsm8k
    """
    try:
        from protocols.lm_eval_adapter import main
    except ImportError as error:
        raise InputError(str(error)) from error
    sys.argv = ["lm_eval", *context.args]
    main()
