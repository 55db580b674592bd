"""Trained models as files for other programs: written, opened again and compared."""
