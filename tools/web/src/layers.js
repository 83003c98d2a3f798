// What can be seen: splats in growing detail, the textured mesh, the collider's edges.
import { SplatFileType, SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import {
  BufferAttribute,
  BufferGeometry,
  DoubleSide,
  EdgesGeometry,
  FrontSide,
  Group,
  LineBasicMaterial,
  LineSegments,
  Mesh,
  MeshBasicMaterial,
} from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { mergeGeometries } from "three/addons/utils/BufferGeometryUtils.js";

/** Variance that every projected splat gains [px^2], as the package's own renderer and the 3DGS rasterisers add it. */
const BLUR_PX2 = 0.3;

/** The renderer of all splats. `onChange` is called when a new order of the splats wants another frame. */
export function splatRenderer(renderer, onChange) {
  return new SparkRenderer({
    renderer,
    onDirty: onChange,
    preBlurAmount: BLUR_PX2,
    blurAmount: 0,
    maxStdDev: Math.sqrt(8),
    enableLod: false,
    sortRadial: false,
  });
}

/** Splats of a `.spz` file. */
export async function splatsOf(bytes) {
  // Centres in 32 bits: half floats are 8 mm off ten metres from the origin.
  const splats = new SplatMesh({ fileBytes: bytes, fileType: SplatFileType.SPZ, extSplats: true });
  await splats.initialized;
  // The file's axes are right, up, back as seen along the world's heading; the scene's are those of the world's glTF.
  splats.rotation.y = -Math.PI / 2;
  return splats;
}

/** Textured mesh of a `.glb` file, without shading: the photo's light is in the texture. */
export async function meshOf(bytes, anisotropy) {
  const { scene } = await new GLTFLoader().parseAsync(bytes, "");
  scene.traverse((node) => {
    if (!node.isMesh) return;
    node.material.side = DoubleSide;
    if (node.material.map) node.material.map.anisotropy = anisotropy;
  });
  return scene;
}

/** Triangles of a `.glb` file as one indexed geometry. */
export async function colliderOf(bytes) {
  const { scene } = await new GLTFLoader().parseAsync(bytes, "");
  const parts = [];
  scene.updateMatrixWorld(true);
  scene.traverse((node) => {
    if (!node.isMesh) return;
    const part = new BufferGeometry();
    part.setAttribute("position", node.geometry.getAttribute("position").clone());
    const count = part.getAttribute("position").count;
    part.setIndex(node.geometry.index ?? new BufferAttribute(Uint32Array.from({ length: count }, (_, i) => i), 1));
    parts.push(part.applyMatrix4(node.matrixWorld));
  });
  return parts.length === 1 ? parts[0] : mergeGeometries(parts);
}

/** Faces and edges of the collider, to lay over what is seen. */
export function colliderView(geometry) {
  const faces = new Mesh(
    geometry,
    new MeshBasicMaterial({
      color: 0x35c46a,
      transparent: true,
      opacity: 0.16,
      side: FrontSide,
      depthWrite: false,
      polygonOffset: true,
      polygonOffsetFactor: -4,
      polygonOffsetUnits: -4,
    }),
  );
  const lines = new LineSegments(
    new EdgesGeometry(geometry, 15),
    new LineBasicMaterial({ color: 0x7dffb0, transparent: true, opacity: 0.9 }),
  );
  return new Group().add(faces, lines);
}
