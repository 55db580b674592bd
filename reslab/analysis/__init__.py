"""Why residual nets work: degradation, signals by depth, loss surfaces; and the page that tells it.

An analysis leaves a folder, a `Study`: what was asked, what was measured, pictures, and a page. A
trained run is looked at as a `Subject`: its weights by name, and images that stand still.
"""
