"use strict";
// The drawings of a run: every layer's course over the snapshots in one chart, and a panel for each layer.
(() => {
  const { snapshots, networks } = JSON.parse(document.getElementById("data").textContent);
  const { element, shape, count, say, hush, whenSeen } = drawing;
  const TITLES = { rms: "rms", abs_max: "largest magnitude", moved: "moved since the snapshot before, in rms" };
  const quantity = document.getElementById("quantity");
  const figure = (value) => value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const short = (path) => path.split("/").pop();
  const formOf = (layer) => layer.forms.effective ? "effective" : "stored";

  // A logarithmic axis: layers whose weights differ by orders of magnitude stay apart, and a factor has one height.
  const scaleFor = (values, top, bottom) => {
    const logs = values.filter((value) => value > 0).map(Math.log10);
    if (!logs.length) return null;
    const low = Math.min(...logs), high = Math.max(...logs);
    // At least a factor of 1.2, so that a layer that hardly changes looks like one.
    const margin = Math.max((high - low) * 0.06, (Math.log10(1.2) - (high - low)) / 2);
    const [from, to] = [low - margin, high + margin];
    return { from, to, y: (value) => bottom - (bottom - top) * (Math.log10(value) - from) / (to - from) };
  };
  const ticksOf = ({ from, to }) => {
    const ticks = [];
    for (let power = Math.floor(from); power <= to; power += 1) {
      for (const digit of [1, 2, 5]) {
        const log = power + Math.log10(digit);
        if (log >= from && log <= to) ticks.push(digit * 10 ** power);
      }
    }
    return ticks.length > 9 ? ticks.filter((tick) => Math.abs(Math.log10(tick) % 1) < 1e-9) : ticks;
  };
  const pathOf = (values, x, y) => {
    let path = "", pen = "M";
    values.forEach((value, index) => {
      if (!(value > 0)) { pen = "M"; return; }
      path += `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    });
    return path;
  };

  const chart = (network) => {
    const svg = shape("svg", { class: "courses", role: "img", "aria-label": "each layer over the snapshots" });
    const draw = () => {
      const what = quantity.value, width = svg.clientWidth || 900, height = 320, left = 62, right = 14, top = 10, bottom = 294;
      const shown = network.layers.filter((layer) => !layer.hidden);
      const scale = scaleFor(shown.flatMap((layer) => layer.forms[formOf(layer)][what]), top, bottom);
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      if (!scale) { svg.append(shape("text", { x: left, y: 40 }, "nothing above zero to draw")); return; }
      const x = (index) => left + (width - left - right) * index / (snapshots.length - 1);
      for (const tick of ticksOf(scale)) {
        svg.append(shape("line", { class: "axis", x1: left, x2: width - right, y1: scale.y(tick), y2: scale.y(tick) }));
        svg.append(shape("text", { x: left - 8, y: scale.y(tick) + 4, "text-anchor": "end" }, figure(tick)));
      }
      svg.append(shape("text", { x: left, y: height - 8 }, short(snapshots[0])));
      svg.append(shape("text", { x: width - right, y: height - 8, "text-anchor": "end" }, short(snapshots[snapshots.length - 1])));
      const traces = shown.map((layer) => {
        const trace = shape("path", { class: "trace effective", d: pathOf(layer.forms[formOf(layer)][what], x, scale.y) });
        svg.append(trace);
        return trace;
      });
      svg.onmousemove = (event) => {
        const box = svg.getBoundingClientRect(), height = event.clientY - box.top;
        const at = (event.clientX - box.left - left) / Math.max(width - left - right, 1) * (snapshots.length - 1);
        const place = Math.max(0, Math.min(snapshots.length - 1, Math.round(at)));
        let nearest = -1, least = Infinity;
        shown.forEach((layer, index) => {
          const value = layer.forms[formOf(layer)][what][place];
          const away = value > 0 ? Math.abs(scale.y(value) - height) : Infinity;
          if (away < least) { least = away; nearest = index; }
        });
        traces.forEach((trace, index) => trace.classList.toggle("chosen", index === nearest));
        if (nearest < 0) { hush(); return; }
        const layer = shown[nearest], own = layer.forms[formOf(layer)];
        const lines = [layer.name, short(snapshots[place]), `${formOf(layer)} ${TITLES[what]}: ${figure(own[what][place])}`];
        if (own.steps[place] !== null) lines.push(`at least ${figure(own.steps[place])} Adam steps of 1e-3 from the one before`);
        say(event, lines.join("\n"));
      };
      svg.onmouseleave = () => { traces.forEach((trace) => trace.classList.remove("chosen")); hush(); };
    };
    new ResizeObserver(draw).observe(svg);
    quantity.addEventListener("change", draw);
    document.addEventListener("refilter", draw);
    return svg;
  };

  const drawPanel = (panel) => {
    const { layer } = panel;
    const svg = shape("svg", { viewBox: "0 0 220 76", preserveAspectRatio: "none", role: "img", "aria-label": "course of the layer" });
    const draw = () => {
      svg.replaceChildren();
      const values = layer.forms[formOf(layer)][quantity.value];
      const scale = scaleFor(values, 3, 73);
      const x = (index) => 220 * index / (snapshots.length - 1);
      if (scale) svg.append(shape("path", { class: "trace effective", d: pathOf(values, x, scale.y) }));
    };
    draw();
    quantity.addEventListener("change", draw);
    svg.addEventListener("mousemove", (event) => {
      const box = svg.getBoundingClientRect();
      const place = Math.max(0, Math.min(snapshots.length - 1, Math.round((event.clientX - box.left) / box.width * (snapshots.length - 1))));
      const lines = Object.entries(layer.forms).map(([form, own]) => `${form} ${TITLES[quantity.value]}: ${figure(own[quantity.value][place])}`);
      say(event, [layer.name, short(snapshots[place]), ...lines].join("\n"));
    });
    svg.addEventListener("mouseleave", hush);
    panel.append(svg);
  };

  const place = document.getElementById("run");
  for (const network of networks) {
    const card = element("section", "card");
    card.append(element("h2", "", `network ${network.name}: ${count(network.layers.length)} layers over ${count(snapshots.length)} snapshots`));
    card.append(element("p", "quiet", "A line for each layer, of its effective weights where a constant is applied; the axis is logarithmic."), chart(network));
    card.append(element("h3", "", "A panel for each layer on a scale of its own, the one that moved farthest first"));
    const panels = element("div", "panels courses-panels");
    for (const layer of network.layers) {
      const panel = element("figure", "panel");
      panel.layer = layer;
      const title = element("figcaption", "", layer.name);
      title.title = layer.name;
      panel.append(title, element("div", "sub", `moved ${layer.moved} rms in all`));
      whenSeen(panel, drawPanel);
      panels.append(panel);
    }
    card.append(panels);
    place.append(card);
  }
  document.addEventListener("refilter", ({ detail }) => {
    for (const panel of document.querySelectorAll(".panel")) {
      const { layer } = panel;
      panel.hidden = layer.hidden = Boolean(detail.wanted) && !layer.name.toLowerCase().includes(detail.wanted);
    }
  }, { capture: true });
})();
