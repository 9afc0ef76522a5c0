// What a script finds beside the language itself: console, print, timers and readStdin. Its value is a function that is called once, with
// the global object and what main.c offers, and gives main.c its own functions.
(function (G, write, sleep, now, readAll) {
  "use strict";
  const err = Error.prototype.toString;
  function prim(v, top) {
    switch (typeof v) {
      case "string": return top ? v : JSON.stringify(v);
      case "bigint": return v + "n";
      case "symbol": return v.toString();
      case "number": return Object.is(v, -0) ? "-0" : "" + v;
      case "function": return (/^class\b/.test(Function.prototype.toString.call(v)) ? "[class " : "[Function ") + (v.name || "(anonymous)") + "]";
      default: return "" + v;
    }
  }
  function inspect(v, depth, seen) {
    if (v === null || (typeof v !== "object")) return prim(v, false);
    if (seen.includes(v)) return "[Circular]";
    if (v instanceof Error) return errorText(v);
    if (v instanceof Date) return isNaN(v) ? "Invalid Date" : v.toISOString();
    if (v instanceof RegExp) return "" + v;
    if (depth > 4) return Array.isArray(v) ? "[Array]" : "[Object]";
    const s = seen.concat([v]), go = x => inspect(x, depth + 1, s), cut = (a, n) => n > 100 ? a.concat(["... " + (n - 100) + " more"]) : a;
    const name = v.constructor && v.constructor.name;
    if (Array.isArray(v) || ArrayBuffer.isView(v) && !(v instanceof DataView)) {
      const n = v.length, a = Array.prototype.map.call(Array.prototype.slice.call(v, 0, 100), go);
      return (Array.isArray(v) ? "" : name + "(" + n + ") ") + (n ? "[ " + cut(a, n).join(", ") + " ]" : "[]");
    }
    if (v instanceof Map) return "Map(" + v.size + ") {" + (v.size ? " " + cut([...v].slice(0, 100).map(([k, x]) => go(k) + " => " + go(x)), v.size).join(", ") + " " : "") + "}";
    if (v instanceof Set) return "Set(" + v.size + ") {" + (v.size ? " " + cut([...v].slice(0, 100).map(go), v.size).join(", ") + " " : "") + "}";
    if (v instanceof Promise) return "Promise {}";
    const keys = Object.keys(v), a = keys.slice(0, 100).map(k => (/^[A-Za-z_$][\w$]*$/.test(k) ? k : JSON.stringify(k)) + ": " + go(v[k]));
    return (name && name !== "Object" ? name + " " : "") + (keys.length ? "{ " + cut(a, keys.length).join(", ") + " }" : "{}");
  }
  function errorText(e) {
    let head = err.call(e), stack = e.stack;
    let text = head + (typeof stack === "string" && stack ? "\n" + stack.replace(/\n$/, "") : "");
    if (e.cause !== undefined) text += "\n  [cause]: " + inspect(e.cause, 1, [e]);
    return text;
  }
  const show = v => typeof v === "object" && v !== null ? inspect(v, 0, []) : prim(v, true);
  const line = a => a.map(show).join(" ") + "\n";
  const out = (...a) => write(1, line(a)), bad = (...a) => write(2, line(a));
  G.print = out;
  G.console = { log: out, info: out, debug: out, dir: out, error: bad, warn: bad, trace: bad,
    assert(c, ...a) { if (!c) bad("Assertion failed" + (a.length ? ":" : ""), ...a); } };
  const timers = []; let ids = 0;
  const add = (f, ms, every, a) => { const t = { id: ++ids, at: now() + Math.max(0, +ms || 0), f, every: every ? Math.max(1, +ms || 0) : 0, a }; timers.push(t); return t.id; };
  const drop = id => { const i = timers.findIndex(t => t.id === id); if (i >= 0) timers.splice(i, 1); };
  G.setTimeout = (f, ms, ...a) => add(f, ms, false, a);
  G.setInterval = (f, ms, ...a) => add(f, ms, true, a);
  G.clearTimeout = G.clearInterval = drop;
  G.readStdin = readAll;
  // One due timer is run: false when there is none left.
  function tick() {
    if (!timers.length) return false;
    let t = timers[0];
    for (const o of timers) if (o.at < t.at || (o.at === t.at && o.id < t.id)) t = o;
    const wait = t.at - now();
    if (wait > 0) sleep(wait);
    if (t.every) t.at = now() + t.every; else drop(t.id);
    t.f.apply(undefined, t.a);
    return true;
  }
  return { tick, show: v => typeof v === "string" ? v : inspect(v, 0, []), errorText: e => e instanceof Error ? errorText(e) : "Uncaught " + inspect(e, 0, []) };
})
