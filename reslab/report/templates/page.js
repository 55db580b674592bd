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

  // Maps: the image of the point under the pointer, or of the next mistake.
  const looks = () => {
    for (const look of document.querySelectorAll(".look")) {
      const { columns, rows, chart } = look.dataset;
      const picture = look.querySelector(".look-picture");
      const text = look.querySelector(".look-text");
      const show = (place, curve, point) => {
        const { customdata, hovertext } = place.data[curve];
        const number = customdata[point];
        const across = columns > 1 ? (100 * (number % columns)) / (columns - 1) : 0;
        const down = rows > 1 ? (100 * Math.floor(number / columns)) / (rows - 1) : 0;
        picture.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
        picture.style.backgroundPosition = `${across}% ${down}%`;
        // The text is escaped for Plotly: a parser gives the characters back.
        const parts = hovertext[point].split("<br>").map((part) => {
          const parsed = new DOMParser().parseFromString(part, "text/html");
          return parsed.body.textContent;
        });
        text.textContent = parts.join(": ");
        picture.setAttribute("aria-label", text.textContent);
      };
      for (const id of look.dataset.charts.split(" ")) {
        const place = document.getElementById(id);
        const react = ({ points: [point] }) => {
          if (place.data[point.curveNumber].customdata) show(place, point.curveNumber, point.pointNumber);
        };
        place.on("plotly_hover", react);
        place.on("plotly_click", react);
      }
      const place = document.getElementById(chart);
      const mistakes = [];
      place.data.forEach(({ customdata, hovertext }, curve) => {
        (customdata || []).forEach((number, point) => {
          if (place.data[curve].meta[point]) mistakes.push([number, curve, point]);
        });
      });
      mistakes.sort((a, b) => a[0] - b[0]);
      let at = -1;
      for (const button of look.querySelectorAll("button")) {
        button.addEventListener("click", () => {
          at = (at + Number(button.dataset.step) + mistakes.length + (at < 0 && button.dataset.step < 0)) % mistakes.length;
          const [, curveNumber, pointNumber] = mistakes[at];
          Plotly.Fx.hover(place, [{ curveNumber, pointNumber }]);
          show(place, curveNumber, pointNumber);
        });
      }
      look.hidden = false;
    }
  };

  draw().then(looks).then(() => (root.dataset.charts = "drawn"));
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
