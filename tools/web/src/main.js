// The page of an exported world: loads it, draws it, lets a person walk in it, and offers `window.lyra` to scripts.
import { Color, Group, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { MeshBVH } from "three-mesh-bvh";
import { Controls } from "./controls.js";
import { Downloads } from "./download.js";
import { cameraMatrix, fromWorld, toWorld, turnOfYaw, yawOf } from "./frames.js";
import { Headset } from "./headset.js";
import { colliderOf, colliderView, meshOf, splatRenderer, splatsOf } from "./layers.js";
import * as page from "./page.js";
import { Walker } from "./walker.js";

const WALK_M_S = 1.4;
const RUN_M_S = 3;
const VFOV_DEG = 65;
const SLOW_FRAME_S = 0.04;
const LEAST_SCALE = 0.5;
const LONGEST_FRAME_S = 0.1;
const INDOORS_RGB = 0x14171c;
const OUTDOORS_RGB = 0xd6e0ec;

class Viewer {
  constructor(site) {
    this.site = site;
    const renderer = new WebGLRenderer({ canvas: page.canvas, antialias: false, powerPreference: "high-performance" });
    this.renderer = renderer;
    renderer.xr.enabled = true;
    this.scene = new Scene();
    this.scene.background = new Color(site.outdoors ? OUTDOORS_RGB : INDOORS_RGB);
    this.camera = new PerspectiveCamera(VFOV_DEG, 1, 0.05, 1000);
    this.rig = new Group().add(this.camera);
    this.spark = splatRenderer(renderer, () => this.redraw());
    this.scene.add(this.rig, this.spark);
    this.layers = { splats: null, mesh: null, collider: null };
    this.shown = null;
    this.splatCount = 0;
    this.start = 0;
    this.free = null; // pose of a camera that does not walk
    this.eyeLift = 0;
    this.scale = 1;
    this.slow = 0;
    this.asked = true;
    this.last = 0;
    this.settling = 0;
    this.seen = new Vector3();
    this.downloads = new Downloads((fraction) => page.showLoading(this.step, fraction, !this.shown));
    this.step = "loading";
  }

  async open() {
    const { files, walk } = this.site;
    const first = files.splats[0] ?? files.mesh;
    this.downloads.expect([files.collider, first]);
    const [collider] = await Promise.all([this.downloads.bytes(files.collider).then(colliderOf), this.#load(first)]);
    this.colliderGeometry = collider;
    this.walker = new Walker(new MeshBVH(collider, { strategy: 2 }), walk);
    this.controls = new Controls({
      surface: page.canvas,
      stick: page.stick,
      onKey: (code) => this.#key(code),
      onChange: () => this.redraw(),
    });
    this.headset = new Headset({
      renderer: this.renderer,
      camera: this.camera,
      rig: this.rig,
      walker: this.walker,
      speed_m_s: WALK_M_S,
    });
    this.#connect();
    this.goTo(0);
    new ResizeObserver(() => this.#fit()).observe(page.canvas);
    this.#fit();
    await this.show(files.splats.length ? "splats" : "mesh");
    await this.settled();
    page.hideLoading();
    this.renderer.setAnimationLoop((time) => this.#frame(time));
    this.complete = this.#refine();
    this.complete.catch((error) => page.showHint(error.message));
  }

  // -- what is shown

  async show(layer) {
    if (!(layer in this.layers) || layer === "collider") throw new Error(`no layer '${layer}'; expected splats or mesh`);
    const file = layer === "mesh" ? this.site.files.mesh : this.site.files.splats[0];
    if (!file) throw new Error(`this site has no ${layer}`);
    if (!this.layers[layer]) {
      await this.#load(file);
      page.hideLoading();
    }
    this.shown = layer;
    this.layers.splats && (this.layers.splats.visible = layer === "splats");
    this.layers.mesh && (this.layers.mesh.visible = layer === "mesh");
    this.spark.visible = layer === "splats";
    page.setPressed("splats", layer === "splats");
    page.setPressed("mesh", layer === "mesh");
    this.redraw();
  }

  showCollider(visible = !this.layers.collider?.visible) {
    if (visible && !this.layers.collider) {
      this.layers.collider = colliderView(this.colliderGeometry);
      this.scene.add(this.layers.collider);
    }
    if (this.layers.collider) this.layers.collider.visible = visible;
    page.setPressed("collider", visible);
    this.redraw();
  }

  async #load(file) {
    const { files } = this.site;
    this.step = file === files.mesh ? "loading the mesh" : "loading splats";
    const bytes = await this.downloads.bytes(file);
    if (file === files.mesh) {
      this.layers.mesh = await meshOf(bytes, this.renderer.capabilities.getMaxAnisotropy());
      this.scene.add(this.layers.mesh);
      return;
    }
    const before = this.layers.splats;
    const splats = await splatsOf(bytes);
    splats.visible = before?.visible ?? true;
    this.scene.add(splats);
    if (before) {
      this.scene.remove(before);
      before.dispose();
    }
    this.layers.splats = splats;
    this.splatCount = file.count;
    this.redraw();
  }

  /** Finer splats, once the first can be seen; not where the reader saves data. */
  async #refine() {
    for (const file of this.site.files.splats.slice(1)) {
      if (navigator.connection?.saveData) return;
      await this.#load(file);
    }
    page.hideLoading();
    await this.settled();
  }

  // -- where one is

  goTo(index) {
    const { spawns } = this.site;
    this.start = ((index % spawns.length) + spawns.length) % spawns.length;
    this.place(spawns[this.start]);
  }

  place({ feet_m, yaw_rad, pitch_rad }) {
    this.free = null;
    if (feet_m) {
      this.walker.place(fromWorld(feet_m));
      this.eyeLift = 0;
    }
    if (yaw_rad !== undefined) this.controls.yaw_rad = yaw_rad;
    if (pitch_rad !== undefined) this.controls.pitch_rad = pitch_rad;
    this.rig.position.copy(this.walker.feet);
    this.redraw();
  }

  /** Walk for a time [s] at once, relative to where one looks. */
  walk({ forward = 0, left = 0, seconds, speed_m_s = WALK_M_S }) {
    this.free = null;
    this.walker.walk(this.#velocity(forward, left, speed_m_s), seconds);
    this.redraw();
    return this.pose();
  }

  pose() {
    const { feet, eye_m, onFloor } = this.walker;
    const { pitch_rad } = this.controls;
    const yaw_rad = this.headset.presenting ? yawOf(this.headset.ahead()) : this.controls.yaw_rad;
    const feet_m = toWorld(feet);
    return { feet_m, eye_m: [feet_m[0], feet_m[1], feet_m[2] + eye_m], yaw_rad, pitch_rad, on_floor: onFloor };
  }

  #velocity(forward, left, speed_m_s) {
    const turn = turnOfYaw(this.controls.yaw_rad);
    return new Vector3(-left, 0, -forward).applyAxisAngle(new Vector3(0, 1, 0), turn).multiplyScalar(speed_m_s);
  }

  // -- drawing

  redraw() {
    this.asked = true;
  }

  #fit() {
    if (this.renderer.xr.isPresenting) return; // the headset decides
    const { clientWidth, clientHeight } = page.canvas;
    this.renderer.setPixelRatio(this.scale * Math.min(devicePixelRatio, 2));
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.#lens(clientWidth / Math.max(1, clientHeight));
    this.redraw();
  }

  #lens(aspect) {
    this.camera.aspect = aspect;
    // A tall screen would look through a slit: there the field of view counts along the width.
    const half = Math.tan((VFOV_DEG * Math.PI) / 360);
    this.camera.fov = this.free ? this.free.vfov_deg : (360 / Math.PI) * Math.atan(Math.max(half, (0.62 * half) / aspect));
    this.camera.updateProjectionMatrix();
  }

  #frame(time) {
    const seconds = Math.min((time - this.last) / 1000, LONGEST_FRAME_S);
    this.last = time;
    if (this.headset.presenting) {
      this.headset.advance(seconds);
      this.renderer.render(this.scene, this.camera);
      return;
    }
    const moving = this.controls.advance(seconds);
    const { forward, left, hurry } = this.controls.wish();
    if (moving) this.free = null;
    if (!this.free) {
      const before = this.walker.feet.y;
      if (moving || !this.walker.onFloor) {
        this.walker.walk(this.#velocity(forward, left, hurry ? RUN_M_S : WALK_M_S), seconds);
        this.redraw();
      }
      // Steps are climbed at once by the feet and smoothly by the eyes.
      this.eyeLift = (this.eyeLift + before - this.walker.feet.y) * Math.exp(-seconds * 10);
      if (Math.abs(this.eyeLift) > 0.002) this.redraw();
    }
    if (!this.asked || this.settling) return;
    this.asked = false;
    this.#aim();
    this.renderer.render(this.scene, this.camera);
    if (moving) this.#adapt(seconds);
  }

  #aim() {
    if (this.free) {
      this.rig.position.set(0, 0, 0);
      this.rig.rotation.set(0, 0, 0);
      this.free.matrix.decompose(this.camera.position, this.camera.quaternion, this.camera.scale);
    } else {
      const { feet, eye_m } = this.walker;
      this.rig.position.copy(feet);
      this.rig.rotation.set(0, turnOfYaw(this.controls.yaw_rad), 0);
      this.camera.position.set(0, eye_m + this.eyeLift, 0);
      this.camera.rotation.set(this.controls.pitch_rad, 0, 0);
    }
    this.rig.updateMatrixWorld(true);
  }

  /** Fewer pixels where frames take long. */
  #adapt(seconds) {
    this.slow = seconds > SLOW_FRAME_S ? this.slow + 1 : 0;
    if (this.slow < 12 || this.scale <= LEAST_SCALE) return;
    this.slow = 0;
    this.scale = Math.max(LEAST_SCALE, this.scale * 0.8);
    this.#fit();
  }

  /** Draws once the splats are in the order of the camera: one frame, however long it takes. */
  async settled() {
    const { spark, camera } = this;
    this.settling++;
    try {
      this.#aim();
      if (this.shown === "splats") {
        const busy = () => spark.sorting || spark.sortDirty || spark.display !== spark.current;
        do {
          await spark.update({ scene: this.scene, camera });
          while (busy()) await new Promise((resolve) => setTimeout(resolve, 5));
          camera.getWorldPosition(this.seen);
        } while (spark.sortedCenter.distanceTo(this.seen) > 1e-4 || !spark.activeSplats);
      }
      this.renderer.render(this.scene, camera);
    } finally {
      this.settling--;
    }
  }

  /** A picture of that size as a data URL, without the page around it. */
  async picture({ width_px, height_px }) {
    this.renderer.setPixelRatio(1);
    this.renderer.setSize(width_px, height_px, false);
    this.#lens(width_px / height_px);
    await this.settled();
    const url = this.renderer.domElement.toDataURL("image/png");
    this.#fit();
    return url;
  }

  look({ T_world_cam, vfov_rad }) {
    this.free = { matrix: cameraMatrix(T_world_cam), vfov_deg: (vfov_rad * 180) / Math.PI };
    this.#lens(this.camera.aspect);
    this.redraw();
  }

  // -- buttons and keys

  async #connect() {
    const { files } = this.site;
    page.setVisible("splats", Boolean(files.splats.length && files.mesh));
    page.setVisible("mesh", Boolean(files.splats.length && files.mesh));
    page.setVisible("restart", this.site.spawns.length > 1);
    const show = (layer) => this.show(layer).catch((error) => page.showHint(error.message));
    page.onClick("splats", () => show("splats"));
    page.onClick("mesh", () => show("mesh"));
    page.onClick("collider", () => this.showCollider());
    page.onClick("restart", () => this.goTo(this.start + 1));
    page.onClick("vr", () => this.#toggleHeadset().catch((error) => page.showHint(error.message)));
    page.showHint(
      matchMedia("(pointer: coarse)").matches
        ? "left thumb walks, right thumb looks"
        : "drag or click to look · W A S D to walk · Shift to run · M mesh · C collider · R start points",
    );
    page.setVisible("vr", await Headset.available());
  }

  async #toggleHeadset() {
    this.free = null;
    this.#aim();
    await this.headset.toggle(() => {
      // Back on the screen one looks where the head looked.
      this.controls.yaw_rad = this.headset.yaw_rad;
      page.setPressed("vr", false);
      this.#fit();
    });
    page.setPressed("vr", this.headset.presenting);
  }

  #key(code) {
    const { files } = this.site;
    if (code === "KeyM" && files.mesh && files.splats.length) page.press(this.shown === "mesh" ? "splats" : "mesh");
    if (code === "KeyC") this.showCollider();
    if (code === "KeyR") this.goTo(this.start + 1);
    if (code === "KeyH") page.setBare(!document.body.classList.contains("bare"));
  }
}

/** What scripts and tests may use; described in docs/web-export.md. */
function publicFace(viewer) {
  return {
    site: viewer.site,
    complete: () => viewer.complete,
    pose: () => viewer.pose(),
    place: (pose) => (viewer.place(pose), viewer.pose()),
    walk: (way) => viewer.walk(way),
    look: (view) => viewer.look(view),
    show: (layer) => viewer.show(layer),
    showCollider: (visible) => viewer.showCollider(visible),
    picture: (size) => viewer.picture(size),
    bare: (yes) => page.setBare(yes),
    state: () => ({ layer: viewer.shown, splats: viewer.splatCount, start: viewer.start }),
  };
}

async function begin() {
  if (location.protocol === "file:") {
    throw new Error("browsers load worlds from web servers only; in this folder run: python3 -m http.server");
  }
  page.showLoading("loading", 0, true);
  const response = await fetch("site.json");
  if (!response.ok) throw new Error(`site.json cannot be loaded (${response.status})`);
  const site = await response.json();
  page.fillPanel(site.name, site.facts);
  const viewer = new Viewer(site);
  await viewer.open();
  return Object.assign(window.lyra, publicFace(viewer));
}

window.lyra = {};
window.lyra.ready = begin();
window.lyra.ready.catch((error) => page.showFailure(error.message));
