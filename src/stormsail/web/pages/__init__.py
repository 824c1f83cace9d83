"""The HTML pages: each route reads a read model and renders a template; a change shows its plan before it is made."""
