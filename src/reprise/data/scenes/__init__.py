"""Coloured scenes of garments: what they show, how they are drawn, what is said of them."""
