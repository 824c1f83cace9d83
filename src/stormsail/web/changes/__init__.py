"""What can be changed, one noun a module; the API's routes and the page's buttons call the same functions."""
