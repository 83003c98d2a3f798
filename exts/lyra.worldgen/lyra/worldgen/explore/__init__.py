"""A world in the browser: `lyra-worldgen explore`, a face over `session.Session` that holds no logic of its own.

`shelf` finds worlds, `desk` gives commands to the session and tells what happens, `robot_drive`, `measure` and
`reel` are what a user works with beside what all faces share (`faces`). None of them knows the browser: `stage`
draws with viser, `panels` are its buttons, `app` starts the server.
"""
