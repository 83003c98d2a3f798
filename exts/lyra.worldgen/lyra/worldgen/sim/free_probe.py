"""Free space told from matter by rays."""

from __future__ import annotations

import numpy as np

from ..core.mesh import TriMesh
from ..core.raycast import Raycaster, directions_all_around


class FreeSpaceProbe:
    """Tells free space from matter: in free space most rays meet the front of a face, in matter its back."""

    def __init__(self, mesh: TriMesh, ray_count: int = 12) -> None:
        self._caster = Raycaster(mesh)
        self._normals = mesh.face_normals()
        # Turned by an odd angle so that no ray runs along a wall or through a corner.
        self._directions = directions_all_around(ray_count, turn_rad=0.3217)

    def free(self, points_world: np.ndarray) -> np.ndarray:
        """[N] bool for points [N, 3]; a point that sees nothing is not free."""
        n, k = len(points_world), len(self._directions)
        if not n:
            return np.zeros(0, bool)
        directions = np.tile(self._directions, (n, 1))
        _, face, _ = self._caster.cast(np.repeat(points_world, k, axis=0), directions)
        facing = np.einsum("ij,ij->i", directions, self._normals[np.maximum(face, 0)])
        vote = np.where(face >= 0, -np.sign(facing), 0.0).reshape(n, k).sum(1)
        return vote > 0
