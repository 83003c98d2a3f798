"""What a robot's sensors see of a finished world: RGB from splats; depth, normals, labels and LiDAR from the proxy.

`load_sensor_world` reads a world folder once, `render_sensors` and `scan_lidar` answer for any pose.
"""

from __future__ import annotations

from .lidar import LIDAR_16 as LIDAR_16
from .lidar import PLANAR_LIDAR as PLANAR_LIDAR
from .lidar import LidarPattern as LidarPattern
from .lidar import LidarScan as LidarScan
from .lidar import scan_lidar as scan_lidar
from .render import SensorFrame as SensorFrame
from .render import render_sensors as render_sensors
from .world import SensorWorld as SensorWorld
from .world import load_sensor_world as load_sensor_world
from .world import load_world_splats as load_world_splats
