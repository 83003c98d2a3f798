// Frames. World: +X ahead, +Y left, +Z up, metres. Scene (three.js, glTF): +X right, +Y up, +Z back: (x, z, -y).
import { Matrix4, Vector3 } from "three";

/** World position [x, y, z] as a scene vector. */
export function fromWorld(point, target = new Vector3()) {
  return target.set(point[0], point[2], -point[1]);
}

/** Scene vector as a world position [x, y, z]. */
export function toWorld(vector) {
  return [vector.x, -vector.z, vector.y];
}

/** Turn about the scene's +Y of something that looks along the world's heading [rad] when it looks along -Z itself. */
export function turnOfYaw(yaw_rad) {
  return yaw_rad - Math.PI / 2;
}

/** World heading [rad] of a scene direction. */
export function yawOf(direction) {
  return Math.atan2(-direction.z, direction.x);
}

/** Scene matrix of a camera from T_world_cam (rows of a 4x4; OpenCV axes: right, down, ahead). */
export function cameraMatrix(T_world_cam) {
  const column = (k) => fromWorld([0, 1, 2].map((row) => T_world_cam[row][k]));
  const matrix = new Matrix4().makeBasis(column(0), column(1).negate(), column(2).negate());
  return matrix.setPosition(column(3));
}
