"""The tasks as plain Isaac Sim scenarios, without Isaac Lab. Not verified inside Isaac Sim.

`nav_task`, `drive_loop`, `pilots` and `mobility_gen` need no simulator; `driver`, `base_task` and `record` do.
"""
