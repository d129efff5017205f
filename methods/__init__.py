"""Distillation methods: one file is one method and its stem the name; `_shared.py` files hold common parts."""
