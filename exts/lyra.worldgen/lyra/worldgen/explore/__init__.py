"""A world in the browser: `lyra-worldgen explore`, a face over `session.Session` that holds no logic of its own.

`shelf` finds worlds, `desk` gives commands to the session and tells what happens, `camera_path`, `robot_drive`,
`measure` and `pictures` are what a user works with, `layers` turns a world into arrays. None of them knows the
browser: `stage` draws them with viser, `panels` are its buttons, `app` starts the server.
"""
