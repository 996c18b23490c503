"""What may be concluded: claims, statistics of verdicts, and the pytest modules that decide them.

This package knows neither torch nor tokenizers.
"""
