"""AR drafters: a draft, its character spans and its exact entropies."""
