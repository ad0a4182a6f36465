"""Two client keys, for the tests of what the one may not be given of the other's."""

KEYS = {"KEY_A": "sk-a-0123456789abcdef0123456789", "KEY_B": "sk-b-0123456789abcdef0123456789"}

# Goes behind the text of a config that is a template.
TENANTS = """
[[keys]]
name = "team-a"
secret = {{ env = "KEY_A" }}

[[keys]]
name = "team-b"
secret = {{ env = "KEY_B" }}
"""
