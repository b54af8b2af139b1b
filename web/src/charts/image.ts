/** A chart as a file: the SVG of the page with its styles, title and legend inside. */

export interface Entry {
  name: string;
  /** Number of the colour, as in the class ``cN``. */
  colour: number;
}

const STYLES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "opacity",
  "font-size",
  "font-weight",
  "font-family",
] as const;
/** What follows the pointer is not part of the chart. */
const LEFT_OUT = ".cross, .zoom";
const HEAD = 30;
const LINE = 18;
const EDGE = 12;
const SCALE = 2;
const NAMESPACE = "http://www.w3.org/2000/svg";

function made(name: string, attributes: Record<string, string | number>, text = ""): SVGElement {
  const found = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, String(value));
  found.textContent = text;
  return found;
}

/** Legend entries in lines that fit ``width``, with the place of each. */
export function legendLines(
  legend: readonly Entry[],
  width: number,
  widthOf: (text: string) => number,
): { entry: Entry; x: number; line: number }[] {
  let [x, line] = [0, 0];
  return legend.map((entry) => {
    const needed = 16 + widthOf(entry.name) + 16;
    if (x > 0 && x + needed > width) [x, line] = [0, line + 1];
    const found = { entry, x, line };
    x += needed;
    return found;
  });
}

/** A standalone SVG: nothing of it depends on the page or its style sheet. */
export function standalone(chart: SVGSVGElement, title: string, legend: readonly Entry[]): SVGSVGElement {
  const [left = 0, top = 0, width = 0, height = 0] = (chart.getAttribute("viewBox") ?? "").split(" ").map(Number);
  const style = getComputedStyle(chart);
  const page = getComputedStyle(document.documentElement);
  const colour = (name: string) => page.getPropertyValue(name).trim();
  const font = { "font-family": style.fontFamily, fill: colour("--text") };
  const measure = document.createElement("canvas").getContext("2d");
  if (measure) measure.font = `12px ${style.fontFamily}`;
  const widthOf = (text: string) => measure?.measureText(text).width ?? text.length * 7;
  const places = legendLines(legend, width, widthOf);
  const lines = (places.at(-1)?.line ?? -1) + 1;
  const [whole, high] = [width + 2 * EDGE, HEAD + height + lines * LINE + 2 * EDGE];
  const found = made("svg", { xmlns: NAMESPACE, width: whole, height: high, viewBox: `0 0 ${whole} ${high}` });
  found.append(made("title", {}, title));
  found.append(made("rect", { width: whole, height: high, fill: colour("--card") }));
  found.append(made("text", { x: EDGE, y: EDGE + 14, "font-size": 14, "font-weight": 700, ...font }, title));
  const body = made("svg", { x: EDGE, y: EDGE + HEAD, width, height, viewBox: `${left} ${top} ${width} ${height}` });
  body.append(...[...chart.children].map((child) => child.cloneNode(true)));
  // By their classes, which `inline` takes away; it needs the copies as they are.
  const leftOut = [...body.querySelectorAll(LEFT_OUT)];
  [...chart.children].forEach((child, i) => inline(child, body.children[i] as Element));
  for (const one of leftOut) one.remove();
  found.append(body);
  for (const { entry, x, line } of places) {
    const y = EDGE + HEAD + height + 14 + line * LINE;
    found.append(made("rect", { x: EDGE + x, y: y - 9, width: 10, height: 10, rx: 2, fill: colour(`--c${entry.colour}`) }));
    found.append(made("text", { x: EDGE + x + 16, y, "font-size": 12, ...font }, entry.name));
  }
  return found as SVGSVGElement;
}

/** Write the computed styles of an element and all below it into its copy. */
function inline(from: Element, to: Element): void {
  const style = getComputedStyle(from);
  for (const name of STYLES) to.setAttribute(name, style.getPropertyValue(name));
  for (const name of ["class", "role", "tabindex", "aria-label", "aria-pressed"]) to.removeAttribute(name);
  [...from.children].forEach((child, i) => {
    const copy = to.children[i];
    if (copy) inline(child, copy);
  });
}

/** The text of a file, in XML. */
export function textOf(image: SVGSVGElement): string {
  return new XMLSerializer().serializeToString(image);
}

/** The picture in pixels, twice as many as the page has; Error if the browser cannot draw it. */
export async function pngOf(image: SVGSVGElement): Promise<Blob> {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(textOf(image))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Number(image.getAttribute("width")) * SCALE;
  canvas.height = Number(image.getAttribute("height")) * SCALE;
  canvas.getContext("2d")?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const found = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!found) throw new Error("the browser cannot draw it");
  return found;
}
