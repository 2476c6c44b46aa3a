"""The generated plant and this host as a live component.

Owns: the demo fleet (a function of its plan, `now` and nothing else) and the sampler of this machine.
Entry: `FleetPlan`, `load_fleet`, `HostCollector`. Invariant: the same plan and `now` give the same bytes.
May import: ingest, inventory, access, lake, measurements, errors.
"""
