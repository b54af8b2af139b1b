// Builds the page: node build.mjs OUTDIR. Writes index.html, main-HASH.js, main-HASH.css, icon.svg
// and NOTICES.txt.

import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { build } from "esbuild";

const LICENSES = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"]);
const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs OUTDIR");

const { metafile } = await build({
  entryPoints: ["src/main.tsx"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  // Chromium compiles all functions while the file comes, beside the page's thread.
  banner: { js: "//# allFunctionsCalledOnLoad" },
  entryNames: "[name]-[hash]",
  outdir: out,
  metafile: true,
  logLevel: "warning",
});

const outputs = Object.keys(metafile.outputs).map((path) => basename(path));
const one = (end) => outputs.find((name) => name.endsWith(end));
const html = await readFile("src/index.html", "utf8");
await writeFile(
  join(out, "index.html"),
  html.replace("%STYLE%", one(".css")).replace("%SCRIPT%", one(".js")),
);
await writeFile(join(out, "icon.svg"), await readFile("src/icon.svg"));
await writeFile(join(out, "NOTICES.txt"), await notices(Object.keys(metafile.inputs)));

/** The packages in the bundle with their licence texts; an unknown licence ends the build. */
async function notices(inputs) {
  const packages = inputs.filter((path) => !path.startsWith("src/")).map(packageOf);
  const names = [...new Set(packages)].sort();
  const texts = names.map(async (name) => {
    const { version, license } = JSON.parse(
      await readFile(`node_modules/${name}/package.json`, "utf8"),
    );
    if (!LICENSES.has(license)) throw new Error(`${name}: licence ${license} is not on the list`);
    const text = await readFile(`node_modules/${name}/LICENSE`, "utf8");
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  return [
    "The page of kzn contains code of these packages:\n",
    ...(await Promise.all(texts)),
  ].join("\n");
}

/** The package of a file, also where node_modules is a symbolic link. */
function packageOf(path) {
  const name = /.*(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
  if (!name) throw new Error(`${path}: of no package, so its licence is not known`);
  return name;
}
