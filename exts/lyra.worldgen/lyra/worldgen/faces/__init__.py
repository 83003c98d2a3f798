"""What every face that shows a world shares: its content as layers, and the camera path that somebody authors.

`contents` reads a world when it is asked, `layers` turns it into arrays within a budget, `camera_path` makes key poses
into the file that `--path` reads. None of them knows a browser or Kit.
"""
