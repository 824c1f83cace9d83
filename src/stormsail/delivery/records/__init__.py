"""Delivery's own records: who changed what and why, answers to repeated requests, and keys. One database, by URL."""
