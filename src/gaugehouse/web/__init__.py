"""FastAPI app: one error table, `api/<resource>.py`, our own body reader, vendored docs.

May import everything below. Endpoints name their scope, call one use case, contain no `try`.
"""
