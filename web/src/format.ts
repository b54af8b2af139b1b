/** Numbers, times and names as text. Pure. */

const SIZES = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** Three significant digits with a decimal unit: 1.50 GB. */
export function size(bytes: number): string {
  const [value, unit] = scaled(bytes);
  return `${unit === "B" ? Math.round(value).toString() : digits(value)} ${unit}`;
}

/** Bytes a second. */
export function rate(bytes: number): string {
  return `${size(bytes)}/s`;
}

/** A rate for an axis: without digits that are zero. */
export function shortRate(bytes: number): string {
  const [value, unit] = scaled(bytes);
  return value === 0 ? "0" : `${Number(value.toPrecision(3))} ${unit}/s`;
}

function scaled(bytes: number): [number, string] {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < SIZES.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return [value, SIZES[unit] ?? "B"];
}

function digits(value: number): string {
  const whole = Math.abs(value);
  return value.toFixed(whole >= 99.95 ? 0 : whole >= 9.995 ? 1 : 2);
}

/** 1,791: by hand, because toLocaleString takes milliseconds for a table. */
export function grouped(value: number, digits: number): string {
  const [whole = "", rest] = value.toFixed(digits).split(".");
  const found = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? found : `${found}.${rest}`;
}

const SIGNS: Record<string, string> = { USD: "$", EUR: "€", GBP: "£", JPY: "¥", INR: "₹" };

/** An amount with its currency: $1,791; below 10 with two digits, below a cent "< $0.01". */
export function money(amount: number, currency: string): string {
  const sign = SIGNS[currency];
  const whole = Math.abs(amount);
  const least = 0.01;
  const text =
    whole > 0 && whole < least
      ? "0.01"
      : grouped(whole, whole < 100 ? 2 : 0);
  const less = whole > 0 && whole < least ? "< " : "";
  const minus = amount < 0 && !less ? "−" : "";
  return sign ? `${less}${minus}${sign}${text}` : `${less}${minus}${text} ${currency}`;
}

/** A share of one: 41 %, 15.8 %, < 0.1 %. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  const value = share * 100;
  const whole = Math.abs(value);
  if (whole > 0 && whole < 0.05) return "< 0.1 %";
  return `${value.toFixed(whole >= 20 || whole === 0 ? 0 : 1)} %`;
}

/** The change from ``before``: +6 %, −19 %, new, or nothing if there was nothing to compare. */
export function change(now: number, before: number | null | undefined): string {
  if (before === null || before === undefined) return "";
  if (before === 0) return now > 0 ? "new" : "0 %";
  const value = Math.round((now / before - 1) * 100);
  if (value > 999) return `× ${grouped(now / before, 0)}`;
  return value > 0 ? `+${value} %` : value < 0 ? `−${-value} %` : "0 %";
}

export type Zone = "utc" | "local";

const pad = (value: number) => String(value).padStart(2, "0");

/** Date and time of a Unix time in seconds: 2026-11-26 03:12 UTC. */
export function instant(seconds: number, zone: Zone): string {
  const [date, time] = parts(seconds, zone);
  return `${date} ${time}${zone === "utc" ? " UTC" : ""}`;
}

/** The time of day with seconds: 14:02:10 UTC. */
export function clock(seconds: number, zone: Zone): string {
  const second = pad(Math.floor(seconds) % 60);
  return `${parts(seconds, zone)[1]}:${second}${zone === "utc" ? " UTC" : ""}`;
}

/** As short as the span allows: 03:12, or 11-26 03:12, or 11-26. */
export function tick(seconds: number, span: number, zone: Zone): string {
  const [date, time] = parts(seconds, zone);
  if (span > 4 * 86_400) return date.slice(5);
  return span > 86_400 ? `${date.slice(5)} ${time}` : time;
}

function parts(seconds: number, zone: Zone): [string, string] {
  const at = new Date(seconds * 1000);
  if (zone === "utc") {
    const text = at.toISOString();
    return [text.slice(0, 10), text.slice(11, 16)];
  }
  return [
    `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`,
    `${pad(at.getHours())}:${pad(at.getMinutes())}`,
  ];
}

/** A duration in its largest unit: 90 s, 5 min, 3 h, 2 d. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** Zone names without their common prefix up to a separator: eu-west-1a, eu-west-1b: a, b. */
export function shortZones(names: readonly string[]): Map<string, string> {
  const known = names.filter((name) => name !== "");
  let common = known.length > 1 ? (known[0] ?? "") : "";
  for (const name of known) while (!name.startsWith(common)) common = common.slice(0, -1);
  // Not within a word: zone-10, zone-11 are 10, 11 and not 0, 1.
  while (common && /[0-9]$/.test(common) && known.some((name) => /^[0-9]/.test(name.slice(common.length))))
    common = common.slice(0, -1);
  const cut = known.some((name) => name.length === common.length) ? 0 : common.length;
  return new Map(names.map((name) => [name, name === "" ? "outside" : name.slice(cut)]));
}
