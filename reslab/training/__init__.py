"""Network + recipe + data -> run."""
