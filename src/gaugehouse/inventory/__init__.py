"""Projects, components, metrics and their attributes.

Entry: `Registry.ensure` (first sight, from memory), `find_components`, `resolve_attributes`.
May import: access, database, measurements, config, errors.
"""
