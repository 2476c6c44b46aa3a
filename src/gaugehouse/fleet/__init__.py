"""What devices and their owners need: views over measurements and events, and what owners decide about firmware.

Owns: releases and rollouts of firmware; nothing of what devices report, which are rows of the lake like any other.
Entry: `report_firmware`, `find_target`, `RunningVersions` (who runs what, from memory), `releases`, `rollouts`.
May import: query, ingest, inventory, access, database, lake, measurements, config, errors.
Invariants: one hot path, no second store; a project sees its own devices only; a withdrawn release is nobody's target;
a device keeps its side of a rollout, and a growing share only adds devices.
"""
