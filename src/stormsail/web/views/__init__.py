"""What the page and the API show, one noun a module: frozen dataclasses and the function that reads each."""
