"""eqlr-tools: read, audit, bake, equalize and verify checkpoints trained with equalized learning rate."""

__version__ = "0.1.0"
