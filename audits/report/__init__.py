"""The report of a run: its data as JSON, and one self-contained page of verdicts, figures and token views."""
