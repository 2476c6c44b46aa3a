"""Who is calling and what they may do: users, passwords, tokens, API keys, scopes.

Entry: `Access` gives a `Caller`. May import: database, config, errors.
Invariants: secrets are stored hashed; what is not the caller's project answers as missing.
"""
