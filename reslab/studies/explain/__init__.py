"""A page that explains residual networks with the user's own runs and studies."""
