"""Commands: serve, worker, demo, import, report, user, key. Nothing heavy is imported before a command needs it."""
