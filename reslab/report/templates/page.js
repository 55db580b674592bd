"use strict";
// Draw every chart from the JSON next to it, in the colours of the current theme.
(() => {
  const root = document.documentElement;
  const charts = [...document.querySelectorAll(".chart")].map((place) => ({
    place,
    figure: JSON.parse(document.getElementById(`${place.id}-data`).textContent),
  }));

  // Names of CSS properties stand for colours and fonts. Other text (class names) is not changed.
  const styled = (value, look, paint = false) => {
    if (typeof value === "string") {
      return paint && value.startsWith("--") ? look.getPropertyValue(value).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => styled(item, look, paint));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        styled(item, look, /^(color|colorscale|family|\w+color)$/.test(key)),
      ]),
    );
  };

  const draw = () => {
    const look = getComputedStyle(root);
    return Promise.all(
      charts.map(({ place, figure }) => {
        const { data, layout } = styled(figure, look);
        // Plotly follows the size of the window, but not that of a printed page.
        if (root.classList.contains("paper")) {
          Object.assign(layout, { width: place.clientWidth, height: place.clientHeight });
        }
        return Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
      }),
    );
  };

  draw().then(() => (root.dataset.charts = "drawn"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  addEventListener("beforeprint", () => {
    root.classList.add("paper");
    draw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("paper");
    draw().then(() => charts.forEach(({ place }) => Plotly.Plots.resize(place)));
  });
})();
