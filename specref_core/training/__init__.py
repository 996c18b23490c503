"""Losses and one small trainer, shared by the embedded pair and the block drafter."""
