// The contrast of every text on the page with what is behind it (WCAG 2.2, 1.4.3), by tag, class and beginning.
() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (color) => {
    const [red, green, blue] = channels(color).map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const textOf = (element) =>
    [...element.childNodes].map((node) => (node.nodeType === Node.TEXT_NODE ? node.data.trim() : "")).join("");
  const isSeen = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return width > 1 && height > 1 && !element.closest("[hidden], .visually-hidden, .skip, .ended, :disabled");
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const text = textOf(element);
    if (!text || !isSeen(element)) continue;
    const [one, other] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const name = `${element.tagName}.${element.className} ${text.slice(0, 30)}`;
    found[name] = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  }
  return found;
};
