"""The terminal operator console for partner-only pilots of restricted AI models."""

__version__ = "0.1.0"
