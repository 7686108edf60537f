"use strict";
// What the drawings of all pages share: making elements, the tip under the pointer, drawing what comes into view.
const drawing = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const shape = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const power = (exponent) => `2${String(exponent).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)])}`;
  const count = (number) => number.toLocaleString("en");

  const tip = element("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const say = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
    const y = event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18;
    tip.style.left = `${Math.max(x, 4)}px`;
    tip.style.top = `${Math.max(y, 4)}px`;
  };
  const hush = () => { tip.hidden = true; };

  // 1 000 panels are drawn one by one as they are scrolled to, and all of them for paper.
  const waiting = new Map();
  const drawn = (panel) => {
    const draw = waiting.get(panel);
    waiting.delete(panel);
    watcher.unobserve(panel);
    if (draw) draw(panel);
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawn(entry.target);
  }, { rootMargin: "400px" });
  const whenSeen = (panel, draw) => { waiting.set(panel, draw); watcher.observe(panel); };
  addEventListener("beforeprint", () => [...waiting.keys()].forEach(drawn));

  return { element, shape, power, count, say, hush, whenSeen };
})();
