"""Model classes for architectures the library lacks, loaded from hub checkpoints without remote code."""
