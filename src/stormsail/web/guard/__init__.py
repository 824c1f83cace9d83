"""Who may do what: principals, sessions, limits, and the headers that keep browsers in bounds."""
