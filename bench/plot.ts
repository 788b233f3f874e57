// Draws the measurements of a question as an SVG for light and dark pages.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type Measurement, median } from "./measure.ts";
import type { Question } from "./question.ts";

const BACKGROUND = "#ffffff";
const INK = "#222222";
const WIDTH = 760;

export function drawing({ asks, plot }: Question, measurements: readonly Measurement[]): string {
  const points = measurements.flatMap(({ what, who, figures }) => {
    const numbers = figures[plot.figure] ?? [];
    if (numbers.length === 0) return [];
    return [
      { what, who, middle: median(numbers), low: Math.min(...numbers), high: Math.max(...numbers) },
    ];
  });
  const { document } = parseHTML("<html><body></body></html>");
  const common = { document, width: WIDTH, style: { background: BACKGROUND, color: INK } };
  const svg =
    plot.kind === "bars"
      ? Plot.plot({ ...common, ...bars(points, plot.title) })
      : Plot.plot({ ...common, ...lines(points, plot.title) });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("aria-label", asks);
  return svg.outerHTML;
}

type Point = { what: string; who: string; middle: number; low: number; high: number };

const short = (value: number): string =>
  value.toLocaleString("en-US", { maximumSignificantDigits: 3 });

/** One bar per contestant, in order of measurement, with the range of the rounds and the median. */
function bars(points: Point[], title: string): Plot.PlotOptions {
  const cases = [...new Set(points.map(({ what }) => what))];
  const contestants = [...new Set(points.map(({ who }) => who))];
  return {
    height: 60 + points.length * 20 + cases.length * 14,
    marginLeft: 210,
    marginRight: 190,
    x: { label: `${title} (median, min – max)`, labelAnchor: "left", grid: true },
    y: { domain: contestants, label: null, padding: 0.15 },
    fy: { domain: cases, label: null, axis: "right" },
    color: { domain: contestants },
    marks: [
      Plot.barX(points, { fy: "what", y: "who", x: "middle", fill: "who", fillOpacity: 0.85 }),
      Plot.ruleY(points, { fy: "what", y: "who", x1: "low", x2: "high", stroke: INK }),
      Plot.text(points, {
        fy: "what",
        y: "who",
        x: "high",
        text: ({ middle }: Point) => short(middle),
        textAnchor: "start",
        dx: 4,
      }),
      Plot.ruleX([0]),
    ],
  };
}

/**
 * One line per series, over the number at the end of the case ("nodes: 4"), as multiples of the
 * smallest number's cost.
 */
function lines(points: Point[], title: string): Plot.PlotOptions {
  const placed = points.map((point) => {
    const [series, number] = point.what.split(": ");
    return { ...point, series, at: Math.max(1, Number(number.replaceAll(",", ""))) };
  });
  const relative = placed.map((point) => {
    const least = placed
      .filter(({ series }) => series === point.series)
      .toSorted((a, b) => a.at - b.at)[0].middle;
    return {
      ...point,
      middle: point.middle / least,
      low: point.low / least,
      high: point.high / least,
    };
  });
  const ends = relative.filter(
    (point) =>
      !relative.some(
        (other) => other.series === point.series && other.who === point.who && other.at > point.at,
      ),
  );
  return {
    height: 420,
    marginLeft: 60,
    marginRight: 140,
    x: {
      type: "log",
      label: "how many",
      tickFormat: (value: number) => value.toLocaleString("en-US"),
      ticks: 5,
    },
    y: { label: `${title}, × that of the smallest`, zero: true, grid: true },
    marks: [
      Plot.ruleX(relative, { x: "at", y1: "low", y2: "high", stroke: "series" }),
      Plot.line(relative, {
        x: "at",
        y: "middle",
        stroke: "series",
        z: ({ series, who }: Point & { series: string }) => `${series} ${who}`,
      }),
      Plot.dot(relative, { x: "at", y: "middle", fill: "series" }),
      Plot.text(ends, {
        x: "at",
        y: "middle",
        text: "series",
        textAnchor: "start",
        dx: 8,
        fill: "series",
      }),
      Plot.ruleY([0]),
    ],
  };
}
