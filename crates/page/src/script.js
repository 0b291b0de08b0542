"use strict";
(() => {
  // Themes: as the system has it, or as was chosen here before. A browser may refuse to remember it.
  const root = document.documentElement, key = "smollm3-theme", themes = ["auto", "light", "dark"];
  let theme = null;
  try { theme = localStorage.getItem(key); } catch { /* not remembered */ }
  if (!themes.includes(theme)) theme = "auto";
  root.dataset.theme = theme;

  // The value under the pointer. A point is "x,y" or "x,y,low,high", as text that is shown as it is.
  const points = path => path.dataset.points.split(" ").map(point => point.split(","));
  const nearest = (list, x) => list.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const made = (name, parent, text) => {
    const node = document.createElement("div");
    node.className = name;
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  let tip = null;
  const clear = () => {
    tip?.remove();
    tip = null;
    document.querySelectorAll(".cross, .dot").forEach(node => node.remove());
  };
  const show = (plot, event) => {
    clear();
    const [left, right, bottom, top] = plot.dataset.range.split(" ").map(Number);
    const box = plot.getBoundingClientRect();
    const pointer = left + (event.clientX - box.left) / box.width * (right - left);
    const lines = [...plot.querySelectorAll("[data-points]")].map(path => ({ path, list: points(path) }));
    const x = Number(nearest(lines.map(line => nearest(line.list, pointer)), pointer)[0]);
    const across = value => `${100 * (value - left) / (right - left)}%`;
    made("cross", plot).style.left = across(x);
    tip = made("tip", document.body);
    made("soft", tip, `${plot.dataset.x} ${nearest(lines[0].list, x)[0] == x ? x : Number(x.toPrecision(7))}`);
    for (const { path, list } of lines) {
      const [at, value, low, high] = nearest(list, x);
      if (Math.abs(at - x) > (right - left) / 50) continue;
      const color = path.dataset.color;
      const dot = made("dot", plot);
      dot.style.cssText = `left:${across(at)};top:${100 * (top - value) / (top - bottom)}%;--c:var(--${color})`;
      const row = made("", tip), name = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.setProperty("--c", `var(--${color})`);
      name.append(swatch, path.dataset.name || plot.dataset.y);
      row.append(name, low === undefined ? value : `${value} (${low} to ${high})`);
    }
    for (const mark of plot.querySelectorAll("[data-mark]")) {
      if (Math.abs(mark.dataset.at - x) <= (right - left) / 80) made(mark.classList.contains("bad") ? "bad" : "soft", tip, mark.dataset.mark);
    }
    const size = tip.getBoundingClientRect();
    const beside = event.clientX + 16 + size.width > innerWidth ? event.clientX - 16 - size.width : event.clientX + 16;
    tip.style.left = `${Math.max(4, beside)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - size.height - 4))}px`;
  };
  const over = event => {
    const plot = event.target.closest?.(".plot");
    if (plot) show(plot, event); else clear();
  };
  for (const name of ["pointermove", "pointerdown"]) addEventListener(name, over);
  for (const name of ["scroll", "blur"]) addEventListener(name, clear);
  root.addEventListener("pointerleave", clear);

  // A page that is served during a run fetches itself anew. While values are looked at, it holds still.
  const refresh = async () => {
    const live = document.querySelector(".live");
    try {
      const text = await (await fetch(location.pathname, { cache: "no-store" })).text();
      const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      const main = document.querySelector("main");
      if (next && !tip && next.innerHTML !== main.innerHTML) {
        const open = node => [...node.querySelectorAll("details")];
        const scrolls = node => [...node.querySelectorAll(".scroll")];
        const opened = new Map(open(main).map(node => [node.id, node.open]));
        const [y, across] = [scrollY, scrolls(main).map(node => node.scrollLeft)];
        main.replaceChildren(...next.childNodes);
        open(main).forEach(node => { node.open = opened.get(node.id) ?? node.open; });
        scrolls(main).forEach((node, index) => { node.scrollLeft = across[index] ?? 0; });
        scrollTo({ top: y, behavior: "instant" });
      }
      live.textContent = `live, ${new Date().toLocaleTimeString()}`;
    } catch {
      live.textContent = "no longer served; this is the last state";
    }
    setTimeout(refresh, 3000);
  };

  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#theme");
    const say = () => { button.textContent = `theme: ${theme}`; };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      root.dataset.theme = theme;
      try { localStorage.setItem(key, theme); } catch { /* not remembered */ }
      say();
    });
    if (document.querySelector(".live")) setTimeout(refresh, 3000);
  });
})();
