/** docs/performance.md and its plots, from the samples of one run. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { verdict, type Figures } from './figures.ts';
import type { Results, Sample } from './harness/measurement.ts';
import { barChart, format } from './harness/plot.ts';
import { spread, type Spread } from './harness/stats.ts';
import type { Detail } from './subjects/scale/context.ts';

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url));

export interface Report {
  readonly results: Results;
  readonly figures: Figures;
  readonly details: readonly Detail[];
  readonly rounds: number;
  readonly seconds: number;
}

export async function writeReport(report: Report): Promise<void> {
  const { results } = report;
  await mkdir(`${DOCS}performance`, { recursive: true });
  const plots = [
    plot('token', 'P-256 on SoftHSM, operations a second', results, (name) =>
      /pkcs11 http|ecdsa|ssh-agent|p11-kit/.test(name),
    ),
    plot('tpm', 'P-256 on swtpm, operations a second', results, (name) => /tpm|esys/.test(name)),
    plot('types', 'Kinds of signature and of key, full, 8 connections', results, (name) =>
      /^full .* c8$/.test(name),
    ),
  ];
  for (const { file, svg } of plots) await writeFile(`${DOCS}performance/${file}`, svg);
  await writeFile(
    `${DOCS}performance.md`,
    text(
      report,
      plots.map(({ file }) => file),
    ),
  );
}

function plot(
  name: string,
  title: string,
  results: Results,
  wanted: (name: string) => boolean,
): { readonly file: string; readonly svg: string } {
  const bars = [...results]
    .filter(([measurement]) => wanted(measurement))
    .map(([label, samples]) => ({ label, spread: of(samples, ({ opsPerS }) => opsPerS) }));
  return { file: `${name}.svg`, svg: barChart(title, 'ops/s', bars) };
}

function text({ results, figures, details, rounds, seconds }: Report, plots: readonly string[]): string {
  const rows = figures.all.map((figure) => {
    const { name, what, spread: found, atLeast, aim } = figure;
    const value = found === undefined ? '-' : range(found);
    return `| ${what} (\`${name}\`) | ${atLeast} | ${aim} | ${value} | ${verdict(figure)} |`;
  });
  const samples = [...results].map(([name, list]) => {
    const cell = (pick: (sample: Sample) => number | undefined): string => {
      const values = list.map(pick).filter((value) => value !== undefined);
      return values.length === 0 ? '-' : range(spread(values));
    };
    return `| ${name} | ${cell((s) => s.opsPerS)} | ${cell((s) => s.p50Us)} | ${cell((s) => s.p99Us)} | ${cell((s) => s.serverCpuUs)} | ${cell((s) => s.hostCpuUs)} | ${cell((s) => s.loaderCpuUs)} |`;
  });
  const [cpu] = cpus();
  return `# Performance

Written by \`npm run bench -- --report\`; every figure is of that one run. TPM (swtpm) and token (SoftHSM) are
software: the figures tell what agentkeyd adds, not what a chip takes.

${cpus().length} cores (${cpu?.model ?? 'unknown'}), shared by the load generator, the programs under test and swtpm. Node ${process.version}. ${rounds} rounds of ${seconds} s each, in another order every round; **median [minimum to maximum]**. A ratio is taken
within each round, because the machine changes its pace between rounds.

*bare*: no policy, no audit, no ledger (a composition of the bench's own). *full*: the daemon as it ships:
kernel-verified caller, parameter policy over the JSON body, a budget that is reserved durably before the
hardware is asked, a durable audit entry before the signature is released.

## What was to be reached

| | bound | aim | measured | |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${plots.map((file) => `![${file}](performance/${file})`).join('\n\n')}

## What scale costs

| | |
| --- | --- |
${details.map(({ what, spread: found }) => `| ${what} | ${range(found)} |`).join('\n')}

## Everything measured

| | ops/s | p50 µs | p99 µs | daemon CPU µs | module host CPU µs | loader CPU µs |
| --- | --- | --- | --- | --- | --- | --- |
${samples.join('\n')}
`;
}

function of(samples: readonly Sample[], pick: (sample: Sample) => number): Spread {
  return spread(samples.map(pick));
}

function range({ median, min, max }: Spread): string {
  return `**${format(median)}** [${format(min)} to ${format(max)}]`;
}
