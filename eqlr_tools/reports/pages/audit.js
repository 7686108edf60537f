"use strict";
// The drawings of an audit: learning speed over depth, and a histogram per layer, drawn when it comes into view.
(() => {
  const { networks, baseline, order } = JSON.parse(document.getElementById("data").textContent);
  const FORMS = ["stored", "effective"];
  const { element, shape, power, count, say, hush, whenSeen } = drawing;

  const facts = (network) => {
    const list = element("dl", "facts");
    const fact = (term, value) => {
      const box = element("div");
      box.append(element("dt", "", term), element("dd", "", value));
      list.append(box);
    };
    const figure = (value) => value === null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 3 });
    fact("family", network.family);
    fact("layers", count(network.layers.length));
    fact("learning-speed spread, stored", figure(network.spread.stored));
    fact("effective", figure(network.spread.effective));
    fact("layers with a hazard in fp16", count(network.layers.filter((layer) => layer.level !== "good").length));
    return list;
  };

  const legend = (withBefore) => {
    const box = element("div", "legend");
    for (const form of withBefore ? [...FORMS, "before"] : FORMS) {
      const entry = element("span");
      entry.append(element("i", form), form === "before" ? "before (the baseline)" : form);
      box.append(entry);
    }
    return box;
  };

  // Learning speed: an Adam step has one size, so a layer with twice the rms takes twice the steps to change as much.
  const speed = (network) => {
    const svg = shape("svg", { class: "speed", role: "img", "aria-label": "rms of each layer over depth" });
    const draw = () => {
      const width = svg.clientWidth || 900, height = 240, left = 52, right = 12, top = 10, bottom = 26;
      svg.replaceChildren();
      // Paper is narrower than the screen that this was drawn for, and then shows it smaller.
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const all = network.layers.flatMap((layer) => [...Object.values(layer.forms), ...Object.values(layer.before)]);
      const logs = all.map((curve) => curve.rms).filter((rms) => rms > 0).map(Math.log10);
      if (!logs.length) return;
      const low = Math.floor(Math.min(...logs)), high = Math.max(Math.ceil(Math.max(...logs)), low + 1);
      const x = (index) => left + (width - left - right) * (network.layers.length < 2 ? 0.5 : index / (network.layers.length - 1));
      const y = (rms) => top + (height - top - bottom) * (high - Math.log10(rms)) / (high - low);
      const every = Math.ceil((high - low) / 8);
      for (let power = low; power <= high; power += every) {
        svg.append(shape("line", { class: "axis", x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power) }));
        svg.append(shape("text", { x: left - 8, y: y(10 ** power) + 4, "text-anchor": "end" }, `1e${power}`));
      }
      svg.append(shape("text", { x: left, y: height - 6 }, "first layer"));
      svg.append(shape("text", { x: width - right, y: height - 6, "text-anchor": "end" }, "last layer"));
      const trace = (form, kind) => {
        let path = "", pen = "M";
        network.layers.forEach((layer, index) => {
          const curve = layer[kind][form] || (kind === "forms" && form === "effective" ? layer.forms.stored : undefined);
          if (!curve || !(curve.rms > 0)) { pen = "M"; return; }
          path += `${pen}${x(index).toFixed(1)} ${y(curve.rms).toFixed(1)}`;
          pen = "L";
        });
        svg.append(shape("path", { class: `trace ${kind === "before" ? "before" : form}`, d: path }));
      };
      for (const form of FORMS) { trace(form, "before"); trace(form, "forms"); }
      const dots = network.layers.length <= 150;
      if (dots) network.layers.forEach((layer, index) => {
        for (const [form, curve] of Object.entries(layer.forms)) {
          if (curve.rms > 0) svg.append(shape("circle", { class: `dot ${form}`, cx: x(index), cy: y(curve.rms), r: 2.6 }));
        }
      });
      const cross = shape("line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" });
      svg.append(cross);
      svg.onmousemove = (event) => {
        const at = (event.clientX - svg.getBoundingClientRect().left - left) / Math.max(width - left - right, 1);
        const index = Math.max(0, Math.min(network.layers.length - 1, Math.round(at * (network.layers.length - 1))));
        const layer = network.layers[index];
        for (const end of ["x1", "x2"]) cross.setAttribute(end, x(index));
        cross.setAttribute("visibility", "visible");
        const lines = Object.entries(layer.forms).map(([form, curve]) => {
          const earlier = layer.before[form] ? `, ${layer.before[form].text} before` : "";
          return `${form} rms ${curve.text}${earlier}, ${curve.steps} Adam steps of 1e-3`;
        });
        say(event, [layer.name, ...lines].join("\n"));
      };
      svg.onmouseleave = () => { cross.setAttribute("visibility", "hidden"); hush(); };
    };
    new ResizeObserver(draw).observe(svg);
    return svg;
  };

  const span = (network) => {
    let low = Infinity, high = -Infinity;
    for (const layer of network.layers) {
      for (const curve of [...Object.values(layer.forms), ...Object.values(layer.before)]) {
        if (!curve.counts.length) continue;
        low = Math.min(low, curve.low);
        high = Math.max(high, curve.low + curve.counts.length);
      }
    }
    return low < high ? [low, high] : [0, 1];
  };

  const outline = (curve, low, high, className) => {
    const highest = Math.max(...curve.counts, 1);
    let path = `M${curve.low - low} 1`;
    curve.counts.forEach((number, index) => {
      const y = (1 - number / highest).toFixed(4);
      path += `V${y}H${curve.low - low + index + 1}`;
    });
    return shape("path", { class: `bars ${className}`, d: `${path}V1Z` });
  };

  const drawPanel = (panel) => {
    const { layer, low, high } = panel;
    const svg = shape("svg", { role: "img", "aria-label": "histogram of log2 magnitudes" });
    const plot = shape("svg", { viewBox: `0 0 ${high - low} 1`, preserveAspectRatio: "none", width: "100%", height: 76 });
    for (const form of FORMS) if (layer.forms[form]) plot.append(outline(layer.forms[form], low, high, form));
    for (const form of FORMS) if (layer.before[form]) plot.append(outline(layer.before[form], low, high, "before"));
    plot.append(shape("line", { class: "axis", x1: 0, x2: high - low, y1: 1, y2: 1 }));
    svg.append(plot);
    svg.append(shape("text", { x: 0, y: 90 }, power(low)));
    svg.append(shape("text", { x: "50%", y: 90, "text-anchor": "middle" }, power(Math.round((low + high) / 2))));
    svg.append(shape("text", { x: "100%", y: 90, "text-anchor": "end" }, power(high)));
    svg.addEventListener("mousemove", (event) => {
      const box = svg.getBoundingClientRect();
      const exponent = low + Math.min(high - low - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * (high - low))));
      const lines = [[layer.forms, ""], [layer.before, " before"]].flatMap(([curves, suffix]) => Object.entries(curves).map(([form, curve]) => {
        const number = curve.counts[exponent - curve.low] || 0;
        const total = curve.counts.reduce((sum, each) => sum + each, 0) || 1;
        return `${form}${suffix}: ${count(number)} (${(100 * number / total).toPrecision(2)}%)`;
      }));
      say(event, [layer.name, `${power(exponent)} to ${power(exponent + 1)}`, ...lines].join("\n"));
    });
    svg.addEventListener("mouseleave", hush);
    panel.lastElementChild.before(svg);
  };

  const makePanel = (layer, low, high) => {
    const panel = element("figure", "panel");
    Object.assign(panel, { layer, low, high });
    const title = element("figcaption", "", layer.name);
    title.title = `${layer.name}\n${layer.about}`;
    const rms = Object.entries(layer.forms).map(([form, curve]) => {
      const moved = layer.before[form] ? ` (${layer.ratio[form]}x before)` : "";
      return `${form} rms ${curve.text}${moved}`;
    });
    panel.append(title, ...rms.map((text) => element("div", "sub", text)));
    const marks = element("div", "marks");
    for (const hazard of layer.hazards) {
      marks.append(element("span", `mark ${hazard.level}`, `${hazard.form} in fp16: ${hazard.text}`));
    }
    panel.append(marks);
    whenSeen(panel, drawPanel);
    return panel;
  };

  const place = document.getElementById("audit");
  if (baseline) {
    const card = element("section", "card");
    card.append(element("h2", "", `Compared with ${baseline.path}`));
    card.append(element("p", "", `${count(baseline.compared)} ${baseline.compared === 1 ? "layer" : "layers"} compared, ${count(baseline.new.length)} new, ${count(baseline.missing.length)} missing.`));
    const names = (title, list) => {
      const shown = list.slice(0, 24).map((each) => `${each.network} ${each.layer}`).join(", ");
      const rest = list.length > 24 ? `, and ${count(list.length - 24)} more` : "";
      if (list.length) card.append(element("p", "quiet", `${title}: ${shown}${rest}`));
    };
    names("New", baseline.new);
    names("Missing", baseline.missing);
    place.append(card);
  }
  for (const network of networks) {
    const card = element("section", "card");
    card.append(element("h2", "", `${network.path}: network ${network.name}`), facts(network));
    if (network.note) card.append(element("p", "quiet", network.note));
    card.append(element("h3", "", `Learning speed: rms of each layer, ${order}`), legend(Boolean(baseline)), speed(network));
    card.append(element("h3", "", "Magnitudes by power of two, a panel per layer"), legend(Boolean(baseline)));
    const panels = element("div", "panels");
    const [low, high] = span(network);
    panels.append(...network.layers.map((layer) => makePanel(layer, low, high)));
    card.append(panels);
    place.append(card);
  }
  document.addEventListener("refilter", ({ detail }) => {
    for (const panel of document.querySelectorAll(".panel")) {
      const { name, about, hazards, forms } = panel.layer;
      const named = !detail.wanted || `${name} ${about}`.toLowerCase().includes(detail.wanted);
      const judged = !detail.hazardous || hazards.some((hazard) => !detail.form || hazard.form === detail.form);
      panel.hidden = !(named && judged && (!detail.form || forms[detail.form]));
    }
  });
})();
