"""A cluster as the operator sees it: the calls it makes, what it renders, how it reads objects."""
