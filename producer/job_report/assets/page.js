"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const HEIGHT = 190;

const seconds = (x) => (x < 1 ? `${+(x * 1e3).toPrecision(3)} ms` : `${+x.toPrecision(3)} s`);
const number = (x) => `${+x.toPrecision(3)}`;
function size(x) {
  let unit = 0;
  for (; x >= 1000 && unit < 4; unit++) x /= 1000;
  return `${number(x)} ${["B", "KB", "MB", "GB", "TB"][unit]}`;
}

const isLong = data.time.at(-1) - data.time[0] > 2 * 86400;
const isShort = data.time.at(-1) - data.time[0] < 10;
const digits = isLong ? [5, 16] : [11, isShort ? 22 : 19]; // to the minute, the hundredth or the second
const moment = (at) => (at == null ? "–" : new Date(at * 1e3).toISOString().replace("T", " ").slice(...digits));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function draw(id, lines, shown, isLogarithmic) {
  const element = document.getElementById(id);
  const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
  const series = lines.map(([label, column, shade]) => ({
    label,
    stroke: colour(shade),
    fill: isLogarithmic ? undefined : `${colour(shade)}33`,
    width: 1.6,
    points: { show: false },
    spanGaps: true,
    value: (_, x) => (x == null ? "–" : shown(x)),
  }));
  const chart = new uPlot(
    {
      width: element.clientWidth,
      height: HEIGHT,
      cursor: { sync: { key: "time" } },
      padding: [null, 28, null, null], // the last label is as wide as the others
      scales: { y: isLogarithmic ? { distr: 3 } : { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
      series: [{ label: "UTC", value: (_, at) => moment(at) }, ...series],
      axes: [{ ...axis, space: 90, values: (_, at) => at.map(moment) }, { ...axis, size: 68, values: (_, at) => at.map((x) => (x == null ? "" : shown(x))) }],
    },
    [data.time, ...lines.map(([, column]) => data[column])],
    element,
  );
  new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
}

function drawAll() {
  for (const element of document.querySelectorAll(".chart")) element.replaceChildren();
  draw("rate", [["stored", "stored", "ok"], ["not stored", "unstored", "failed"]], number);
  draw("bytes", [["bytes", "bytes", "accent"]], size);
  draw("times", [["p50", "p50", "ok"], ["p95", "p95", "accent"], ["p99", "p99", "failed"]], seconds, true);
  draw("level", [["under way", "under_way", "accent"]], number);
}

if (data.time.length >= 4) {
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
} else {
  document.getElementById("short").hidden = false;
  document.querySelector(".chart").closest(".grid").remove();
}

function sort(heading) {
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const direction = (heading.dataset.direction = heading.dataset.direction === "1" ? "-1" : "1");
  const key = (row) => (column ? +row.cells[column].dataset.value : row.cells[0].textContent);
  const rows = [...table.tBodies[0].rows].sort((a, b) => (key(a) < key(b) ? 1 : key(a) > key(b) ? -1 : 0) * direction);
  table.tBodies[0].append(...rows);
}
for (const heading of document.querySelectorAll(".sortable thead th")) heading.addEventListener("click", () => sort(heading));
