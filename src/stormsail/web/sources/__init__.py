"""Where the page and the API get what they show: the engine, the clouds behind it, and delivery's own records."""
