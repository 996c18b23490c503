"""How text is scored: problems, the three protocol evaluators, the ledger, and signatures.

This package knows no model class, only the Generator contract of ``specref_core.generator``.
"""
