"""The delivery house's nouns: frozen values with no behaviour beyond reading themselves."""
