"""Distillation methods: one file is one method, named by the file's stem. `methods.parts` holds what several share."""
