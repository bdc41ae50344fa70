// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const NONE = "–";

export function count(value) {
  if (value === null || value === undefined) return NONE;
  return value < 10000 ? WHOLE.format(value) : SHORT.format(value);
}

export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

export function share(value) {
  return value === null || value === undefined ? NONE : `${Math.round(value * 100)} %`;
}

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 0.00005) return "0 s";
  if (value < 0.0095) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

/** How long ago, by the server's clock. */
export function ago(now, then) {
  const passed = Math.max(0, now - then);
  return passed < 2 ? "now" : `${seconds(passed)} ago`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const mib = value / 1048576;
  return mib < 1024 ? `${count(Math.round(mib))} MiB` : `${rate(mib / 1024)} GiB`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
