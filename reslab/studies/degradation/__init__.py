"""Do deeper plain networks train worse than shallow ones, and deeper residual networks not?

He et al. 2015, Fig. 1 and Fig. 6.
"""
