"""AR drafting: a text, the characters of each of its tokens, and the exact entropy of each (paper Eq. 1 and 2)."""
