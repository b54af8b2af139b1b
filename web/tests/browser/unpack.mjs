// Unpacks Chromium beside this file.

import { createReadStream, createWriteStream } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const folder = import.meta.dirname;
const packed = join(folder, "node_modules/@sparticuz/chromium/bin/chromium.br");
const part = join(folder, "chromium.part");
await pipeline(createReadStream(packed), createBrotliDecompress(), createWriteStream(part, { mode: 0o755 }));
await rename(part, join(folder, "chromium"));
