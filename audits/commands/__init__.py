"""The commands of ``specref``, one module each; every module has ``register(app)``."""
