// Walking in a headset: the left stick walks where the head looks, the right one turns by steps; walls stop real steps.
import { Vector3 } from "three";
import { yawOf } from "./frames.js";

const SNAP_RAD = Math.PI / 6;
const DEAD = 0.2;

export class Headset {
  /**
   * @param renderer three.js renderer.
   * @param camera what three.js moves with the head, one frame behind it.
   * @param rig group that holds the camera; its origin is the floor of the play space.
   * @param walker what collides.
   * @param speed_m_s walking speed.
   */
  constructor({ renderer, camera, rig, walker, speed_m_s }) {
    Object.assign(this, { renderer, camera, rig, walker, speed_m_s });
    this.yaw_rad = 0; // where the head looked last
    this.#turned = false;
  }

  #turned;
  #head = new Vector3();
  #ahead = new Vector3();
  #velocity = new Vector3();

  /** Whether this browser and machine have one. */
  static async available() {
    return (await navigator.xr?.isSessionSupported("immersive-vr").catch(() => false)) ?? false;
  }

  get presenting() {
    return this.renderer.xr.isPresenting;
  }

  /** Horizontal direction in which the head looks, in the scene. */
  ahead() {
    return this.camera.getWorldDirection(this.#ahead).setY(0).normalize();
  }

  /** Begin or end; resolves when it has. */
  async toggle(onEnd) {
    const current = this.renderer.xr.getSession();
    if (current) return current.end();
    const session = await navigator.xr.requestSession("immersive-vr", { optionalFeatures: ["local-floor"] });
    await this.renderer.xr.setSession(session);
    session.addEventListener("end", onEnd); // after three.js, which leaves the headset first
  }

  /** Walk and turn for a time [s] by the sticks and by the wearer's own steps. */
  advance(seconds) {
    this.yaw_rad = yawOf(this.ahead());
    const sticks = { left: [0, 0], right: [0, 0] };
    for (const source of this.renderer.xr.getSession()?.inputSources ?? []) {
      const axes = source.gamepad?.axes ?? [];
      const pair = axes.length >= 4 ? [axes[2], axes[3]] : [axes[0] ?? 0, axes[1] ?? 0];
      if (source.handedness in sticks) sticks[source.handedness] = pair;
    }
    const [side, back] = sticks.left.map((value) => (Math.abs(value) < DEAD ? 0 : value));
    const right = { x: -this.#ahead.z, z: this.#ahead.x };
    this.#velocity.set(right.x * side - this.#ahead.x * back, 0, right.z * side - this.#ahead.z * back);
    this.#turn(sticks.right[0]);

    // The body follows the head; where a wall holds it back, the play space is moved instead.
    this.camera.getWorldPosition(this.#head);
    const { feet } = this.walker;
    this.walker.shift(this.#head.x - feet.x, this.#head.z - feet.z);
    this.walker.walk(this.#velocity.multiplyScalar(this.speed_m_s), seconds);
    this.rig.position.x += feet.x - this.#head.x;
    this.rig.position.z += feet.z - this.#head.z;
    this.rig.position.y = feet.y;
  }

  #turn(axis) {
    if (Math.abs(axis) < 0.5) this.#turned = false;
    if (Math.abs(axis) < 0.7 || this.#turned) return;
    this.#turned = true;
    // About the head, not about the middle of the room that its wearer is in.
    this.camera.getWorldPosition(this.#head);
    const angle = -Math.sign(axis) * SNAP_RAD;
    this.rig.position.sub(this.#head).applyAxisAngle(new Vector3(0, 1, 0), angle).add(this.#head);
    this.rig.rotation.y += angle;
    this.rig.updateMatrixWorld(true);
  }
}
