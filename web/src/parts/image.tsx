/** Buttons that save a chart as a picture. */

import { useState } from "preact/hooks";
import { type Entry, pngOf, standalone, textOf } from "../charts/image";
import { save } from "../save";
import { wholePage } from "./later";

interface Props {
  /** The frame of the chart; its first SVG is saved. */
  frame: { current: HTMLElement | null };
  title: string;
  legend: readonly Entry[];
}

export function SaveImage({ frame, title, legend }: Props) {
  const [said, setSaid] = useState("");
  const saved = async (kind: "svg" | "png") => {
    await wholePage();
    const chart = frame.current?.querySelector("svg");
    if (!chart) return;
    const image = standalone(chart, title, legend);
    const name = `kzn-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`.slice(0, 80);
    try {
      const content = kind === "png" ? await pngOf(image) : new Blob([textOf(image)], { type: "image/svg+xml" });
      save(content, `${name}.${kind}`);
      setSaid("");
    } catch (error) {
      setSaid(error instanceof Error ? error.message : "failed");
    }
  };
  return (
    <span class="saves">
      {said}{" "}
      <button
        type="button"
        class="quiet"
        aria-label={`save as PNG: ${title}`}
        onClick={() => void saved("png")}
      >
        PNG
      </button>
      <button
        type="button"
        class="quiet"
        aria-label={`save as SVG: ${title}`}
        onClick={() => void saved("svg")}
      >
        SVG
      </button>
    </span>
  );
}
