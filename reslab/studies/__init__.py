"""Why residual networks work: degradation, signals by depth, loss surfaces, ablations."""
