"""Distillation methods: one file, one method; the file's stem is its name. Files with an underscore hold shared parts."""
