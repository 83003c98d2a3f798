// Keyboard, mouse and touch, as one wish to walk and two angles to look.

const LOOK_RAD_PX = 0.0028;
const TURN_RAD_S = 1.8;
const STICK_PX = 56;
const STEEPEST_RAD = 1.5;
const FORWARD = ["KeyW", "ArrowUp"];
const BACK = ["KeyS", "ArrowDown"];

export class Controls {
  /**
   * @param surface element that takes pointers.
   * @param stick element of the touch stick, with one child for its knob.
   * @param onKey called with the code of keys that neither walk nor turn.
   * @param onChange called when something wants to move.
   */
  constructor({ surface, stick, onKey, onChange }) {
    Object.assign(this, { surface, stick, onKey, onChange });
    this.yaw_rad = 0;
    this.pitch_rad = 0;
    this.keys = new Set();
    this.push = { forward: 0, left: 0 };
    this.touched = false;
    this.#look = null;
    this.#hold = null;
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => this.keys.delete(event.code));
    addEventListener("blur", () => this.#release());
    surface.addEventListener("pointerdown", (event) => this.#down(event));
    surface.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) surface.addEventListener(name, (event) => this.#up(event));
    surface.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("mousemove", (event) => {
      if (document.pointerLockElement === surface) this.turn(event.movementX, event.movementY);
    });
  }

  #look;
  #hold;

  /** Wanted walk: {forward, left} within the unit circle, and whether to hurry. */
  wish() {
    const axis = (plus, minus) => plus.some((c) => this.keys.has(c)) - minus.some((c) => this.keys.has(c));
    let forward = axis(FORWARD, BACK) + this.push.forward;
    let left = axis(["KeyA"], ["KeyD"]) + this.push.left;
    const length = Math.hypot(forward, left);
    if (length > 1) [forward, left] = [forward / length, left / length];
    return { forward, left, hurry: this.keys.has("ShiftLeft") || this.keys.has("ShiftRight") };
  }

  /** Turn with the keys for a time [s]; whether anything still wants to move. */
  advance(seconds) {
    const side = this.keys.has("ArrowLeft") - this.keys.has("ArrowRight");
    this.yaw_rad += side * TURN_RAD_S * seconds;
    const { forward, left } = this.wish();
    return side !== 0 || forward !== 0 || left !== 0;
  }

  /** Look by pixels, as if the view were pushed along. */
  turn(dx_px, dy_px) {
    this.yaw_rad -= dx_px * LOOK_RAD_PX;
    this.pitch_rad = Math.min(STEEPEST_RAD, Math.max(-STEEPEST_RAD, this.pitch_rad - dy_px * LOOK_RAD_PX));
    this.onChange();
  }

  #keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code.startsWith("Arrow")) event.preventDefault();
    if (!this.keys.has(event.code)) this.onKey(event.code);
    this.keys.add(event.code);
    this.onChange();
  }

  #release() {
    this.keys.clear();
    this.push = { forward: 0, left: 0 };
    this.#look = this.#hold = null;
    this.stick.hidden = true;
  }

  #down(event) {
    this.surface.setPointerCapture(event.pointerId);
    const at = { id: event.pointerId, x: event.clientX, y: event.clientY, far: 0 };
    this.touched ||= event.pointerType === "touch";
    if (event.pointerType === "touch" && event.clientX < 0.45 * innerWidth && !this.#hold) {
      this.#hold = at;
      this.stick.hidden = false;
      this.stick.style.left = `${at.x}px`;
      this.stick.style.top = `${at.y}px`;
      this.#knob(0, 0);
    } else if (!this.#look) {
      this.#look = at;
    }
  }

  #move(event) {
    if (this.#hold?.id === event.pointerId) {
      let [dx, dy] = [event.clientX - this.#hold.x, event.clientY - this.#hold.y];
      const length = Math.hypot(dx, dy);
      if (length > STICK_PX) [dx, dy] = [(dx / length) * STICK_PX, (dy / length) * STICK_PX];
      this.push = { forward: -dy / STICK_PX, left: -dx / STICK_PX };
      this.#knob(dx, dy);
      this.onChange();
    } else if (this.#look?.id === event.pointerId && document.pointerLockElement !== this.surface) {
      const [dx, dy] = [event.clientX - this.#look.x, event.clientY - this.#look.y];
      this.#look.far += Math.hypot(dx, dy);
      [this.#look.x, this.#look.y] = [event.clientX, event.clientY];
      // A finger pulls the picture along, a mouse turns the head.
      const sign = event.pointerType === "touch" ? -1.6 : 1;
      this.turn(sign * dx, sign * dy);
    }
  }

  #up(event) {
    if (this.#hold?.id === event.pointerId) {
      this.#hold = null;
      this.push = { forward: 0, left: 0 };
      this.stick.hidden = true;
    } else if (this.#look?.id === event.pointerId) {
      const clicked = event.pointerType === "mouse" && this.#look.far < 4;
      this.#look = null;
      // Some browsers and frames refuse; dragging still works there.
      if (clicked) Promise.resolve(this.surface.requestPointerLock?.()).catch(() => {});
    }
  }

  #knob(dx_px, dy_px) {
    this.stick.firstElementChild.style.transform = `translate(${dx_px}px, ${dy_px}px)`;
  }
}
