// Bundles the page into the Python package: node build.mjs [FOLDER]
//
// The same sources and lock file give the same bytes, so a test can tell whether the committed page is up to date.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const site = resolve(process.argv[2] ?? join(here, "../../exts/lyra.worldgen/lyra/worldgen/web/site"));

const result = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.js"],
  outfile: join(site, "app.js"),
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

await mkdir(site, { recursive: true });
for (const name of ["index.html", "style.css"]) await copyFile(join(here, "src", name), join(site, name));
await writeFile(join(site, "licences.txt"), await licences(Object.keys(result.metafile.inputs)));

// The licence texts of every package that went into the bundle; a package without one is an error.
async function licences(inputs) {
  const names = inputs.map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean);
  // Bundled inside the published files of spark, so esbuild does not see it.
  names.push("fflate");
  const parts = ["This page is made of lyra-worldgen (Apache-2.0) and of these packages.\n"];
  for (const name of [...new Set(names)].sort()) {
    const folder = join(here, "node_modules", name);
    const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence text`);
    const text = (await readFile(join(folder, file), "utf8")).replaceAll("\r\n", "\n").trimEnd();
    parts.push(`${name} ${about.version}, ${about.license}\n\n${text}\n`);
  }
  return parts.join(`\n${"-".repeat(80)}\n\n`);
}
