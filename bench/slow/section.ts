/** The figures of slow and flooded hardware as text, JSON members and a section of the report. */
import { format } from '../harness/plot.ts';
import { reasonLine } from '../reasons.ts';
import type { SlowFigure } from './scenarios.ts';

export function slowLines(figures: readonly SlowFigure[]): readonly string[] {
  return figures.map(
    (figure) =>
      `${figure.name.padEnd(26)} ${range(figure).padEnd(24)} bound ${figure.bound.padEnd(12)} ${verdict(figure)}`,
  );
}

/** Medians by name, and `spread` with minimum and maximum. */
export function slowJson(figures: readonly SlowFigure[]): Readonly<Record<string, unknown>> {
  return {
    ...Object.fromEntries(figures.map(({ name, spread }) => [name, round(spread.median)])),
    spread: Object.fromEntries(
      figures.map(({ name, spread }) => [name, [round(spread.min), round(spread.max)]]),
    ),
  };
}

/** A section of docs/performance.md, Markdown. */
export function slowSection(figures: readonly SlowFigure[]): string {
  return [
    '## Slow hardware, and one caller that floods',
    '',
    'A TPM whose signatures take 30 ms (swtpm behind a relay in C that holds each of them for 30 ms), and SoftHSM; two users, the default limits.',
    'A flood is 200 connections that ask again as soon as they are answered. How it is done: [load.md](load.md).',
    '',
    '| what | bound | median [min..max] | |',
    '| --- | --- | --- | --- |',
    ...figures.map(
      (figure) =>
        `| ${figure.what} (\`${figure.name}\`) | ${figure.bound} | ${range(figure)} | ${verdict(figure)} |`,
    ),
    '',
    ...figures.filter(({ isReached }) => !isReached).map(({ name }) => reasonLine(name)),
    '',
  ].join('\n');
}

function range({ spread: { median, min, max } }: SlowFigure): string {
  return `${format(median)} [${format(min)}..${format(max)}]`;
}

function verdict({ isReached }: SlowFigure): string {
  return isReached ? 'reached' : 'missed';
}

function round(value: number): number {
  return Number(value.toPrecision(5));
}
