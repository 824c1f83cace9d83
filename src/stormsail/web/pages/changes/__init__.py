"""Changes as people make them on a page: a dialog with fields, the plan, the command that does the same, a reason."""
