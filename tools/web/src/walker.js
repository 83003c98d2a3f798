// A person that walks: an upright capsule that floats one step above its feet, pushed out of the collider's triangles
// sideways, and carried by what rays find below it. So kerbs and stairs are walked up, and walls stop.
import { Line3, Ray, Vector3, Box3, DoubleSide } from "three";

const STEP_S = 1 / 120;
const GRAVITY = 9.81;
const FASTEST_FALL = 20;
const STEEPEST = 0.5; // cosine: what is steeper is no ground
const LOST_M = 4; // so far below the collider nothing is left to land on

export class Walker {
  /**
   * @param bvh MeshBVH of the collider, in scene coordinates.
   * @param size {radius_m, eye_m, step_m}.
   */
  constructor(bvh, size) {
    this.bvh = bvh;
    Object.assign(this, size);
    this.feet = new Vector3();
    this.onFloor = false;
    this.fall_m_s = 0;
    this.lowest = bvh.getBoundingBox(new Box3()).min.y - LOST_M;
    this.home = new Vector3();
    this.#left_s = 0;
  }

  #left_s;
  #segment = new Line3();
  #box = new Box3();
  #onTriangle = new Vector3();
  #onSegment = new Vector3();
  #ray = new Ray(new Vector3(), new Vector3(0, -1, 0));

  /** Stand somewhere; the floor below is found at the next step. */
  place(feet) {
    this.feet.copy(feet);
    this.home.copy(feet);
    this.fall_m_s = 0;
    this.#settle(2 * this.step_m);
  }

  /** Walk with a horizontal velocity [m/s] for a time [s], in fixed steps: the same call always ends at one place. */
  walk(velocity, seconds) {
    this.#left_s = Math.min(this.#left_s + seconds, 60);
    while (this.#left_s >= STEP_S - 1e-9) {
      this.#left_s -= STEP_S;
      this.feet.x += velocity.x * STEP_S;
      this.feet.z += velocity.z * STEP_S;
      this.#pushOut();
      this.#carry();
    }
  }

  /** Move at once, as far as nothing is in the way. */
  shift(dx, dz) {
    const count = Math.max(1, Math.ceil(Math.hypot(dx, dz) / (0.25 * this.radius_m)));
    for (let i = 0; i < Math.min(count, 100); i++) {
      this.feet.x += dx / count;
      this.feet.z += dz / count;
      this.#pushOut();
    }
    this.#settle(this.step_m);
  }

  #pushOut() {
    const { start, end } = this.#segment;
    const r = this.radius_m;
    const low = this.feet.y + this.step_m + r;
    start.set(this.feet.x, low, this.feet.z);
    end.set(this.feet.x, Math.max(low, this.feet.y + this.eye_m + 0.1 - r), this.feet.z);
    // Twice: out of one wall may mean into the other wall of a corner.
    for (let round = 0; round < 2; round++) {
      this.#box.setFromPoints([start, end]).expandByScalar(r);
      this.bvh.shapecast({
        intersectsBounds: (box) => box.intersectsBox(this.#box),
        intersectsTriangle: (triangle) => {
          const distance = triangle.closestPointToSegment(this.#segment, this.#onTriangle, this.#onSegment);
          if (distance >= r || distance < 1e-9) return;
          const away = this.#onSegment.sub(this.#onTriangle).divideScalar(distance);
          const flat = Math.hypot(away.x, away.z);
          if (flat < 0.3) return; // a floor or a ceiling
          const push = (r - distance) / flat / flat;
          for (const p of [start, end, this.feet]) {
            p.x += away.x * push;
            p.z += away.z * push;
          }
        },
      });
    }
  }

  #carry() {
    if (this.onFloor && this.#settle(this.step_m)) return;
    this.onFloor = false;
    this.fall_m_s = Math.min(this.fall_m_s + GRAVITY * STEP_S, FASTEST_FALL);
    const drop = this.fall_m_s * STEP_S;
    if (this.#settle(drop)) return;
    this.feet.y -= drop;
    if (this.feet.y < this.lowest) this.place(this.home);
  }

  /** Put the feet on the highest ground between one step up and `down` below; false if there is none. */
  #settle(down) {
    const from = this.feet.y + this.step_m;
    let ground = -Infinity;
    const reach = 0.5 * this.radius_m;
    for (const [dx, dz] of [[0, 0], [reach, 0], [-reach, 0], [0, reach], [0, -reach]]) {
      this.#ray.origin.set(this.feet.x + dx, from, this.feet.z + dz);
      for (const hit of this.bvh.raycast(this.#ray, DoubleSide, 0, this.step_m + down + 1e-4)) {
        if (Math.abs(hit.face.normal.y) >= STEEPEST) ground = Math.max(ground, hit.point.y);
      }
    }
    if (ground === -Infinity) return false;
    this.feet.y = ground;
    this.fall_m_s = 0;
    this.onFloor = true;
    return true;
  }
}
