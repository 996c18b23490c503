"""Protocol A: from raw text to program, to a process of its own, to a verdict."""
