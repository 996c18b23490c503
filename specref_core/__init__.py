"""How text is made: drafting, alignment, masking, denoising, likelihood, and the Generator contract.

This package knows no benchmark. Importing it loads neither torch nor transformers; modules that need them do.
"""
