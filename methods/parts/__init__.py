"""Building blocks that several methods share; a method from outside may import all public names."""
