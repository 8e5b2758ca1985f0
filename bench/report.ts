/** docs/performance.md and its plots, from the samples of one run. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { verdict, type Figures } from './figures.ts';
import { table, range } from './harness/markdown.ts';
import { difference, type Results, type Sample } from './harness/measurement.ts';
import { barChart, type Bar } from './harness/plot.ts';
import { spread } from './harness/stats.ts';
import { reasonLine } from './reasons.ts';
import type { SlowFigure } from './slow/scenarios.ts';
import { slowSection } from './slow/section.ts';
import { compositionName, type Composition, type Stage } from './subjects/composed.ts';
import { daemonCpuUs } from './subjects/daemon.ts';
import type { Detail } from './subjects/scale/context.ts';

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url));

export interface Report {
  readonly results: Results;
  readonly figures: Figures;
  readonly details: readonly Detail[];
  readonly stages: readonly Stage[];
  readonly slow: readonly SlowFigure[];
  readonly rounds: number;
  readonly seconds: number;
  /** As it was called. */
  readonly command: string;
}

export async function writeReport(report: Report): Promise<void> {
  await mkdir(`${DOCS}performance`, { recursive: true });
  for (const [name, svg] of plots(report)) await writeFile(`${DOCS}performance/${name}.svg`, svg);
  await writeFile(`${DOCS}performance.md`, text(report));
}

function plots({ results, stages }: Report): ReadonlyMap<string, string> {
  const rates = (title: string, wanted: RegExp): string =>
    barChart(title, 'operations a second', bars(results, wanted));
  return new Map([
    ['token', rates('P-256 on SoftHSM', /^(bare|full pay-pkcs11|raw ecdsa|ssh-agent|p11-kit)/)],
    ['tpm', rates('P-256 on swtpm', /^(full pay-tpm|raw esys|tpm2-openssl)/)],
    ['kinds', rates('Kinds of key and of signature, full, 8 connections', /^full (?!pay-).* c8$/)],
    [
      'stages',
      barChart(
        'One full signature by stage, 8 connections',
        'µs of CPU',
        stages.map(({ name, us }) => ({ label: name, spread: us })),
      ),
    ],
  ]);
}

function bars(results: Results, wanted: RegExp): readonly Bar[] {
  return [...results]
    .filter(([name]) => wanted.test(name))
    .map(([label, samples]) => ({ label, spread: spread(samples.map(({ opsPerS }) => opsPerS)) }));
}

function text(report: Report): string {
  const { results, figures, details, stages, slow, rounds, seconds, command } = report;
  const [cpu] = cpus();
  return `# Performance

Written by \`${command}\`; every figure is of that one run. TPM (swtpm) and token (SoftHSM) are software: the
figures tell what agentkeyd adds, not what a chip takes.

- **Machine**: ${cpus().length} cores (${cpu?.model ?? 'unknown'}), shared by load generator, programs under test, swtpm and SoftHSM; Node ${process.version}.
- **Rounds**: ${rounds} of ${seconds} s for each measurement, in another order every round, those that are compared following one another (the machine changes its pace within a round too), after eight seconds of each daemon at 64 connections and one round to warm up, and half a second of the same load before each. Figures are **median** [minimum to maximum]. A ratio is taken within each round, because a machine changes its pace between rounds.
- **Load**: closed loop over the Unix socket by an epoll loop in C; CPU times are the kernel's (\`schedstat\`), of load generator, daemon and module hosts apart.
- **Raw loops** are C: C_SignInit and C_Sign on the same SoftHSM, Esys_Sign with a password session and a loaded key on swtpm. **Peers**: OpenSSH's ssh-agent with the same PKCS#11 module, p11-kit server with a client process for each connection, tpm2-openssl through EVP_DigestSign. Parsec and ssh-tpm-agent were not measured.
- **Required steps** are what the design asks of every signature of a token, in C and with nothing else (\`bench/raw/required_steps.c\`): the module in a process of its own behind a socketpair (S17), its signature verified by OpenSSL before it is released (S17), for *full* a reservation on disk before the module is asked (S16) and an entry on disk before release (S16), both with group commit. There is no socket to a caller, HTTP, JSON, policy, ledger, hash chain or typed signing in it, and no load generator beside it. What a bound leaves above that is all that the rest may take, in any language.
- **bare**: no policy, no audit, no ledger (a composition of the bench's own). **full**: the daemon as it ships: a caller the kernel names, a policy over the parameters of the call and the members of its JSON body (of a hundred different amounts, which it does not read: Cedar's answer is remembered; what it costs where it is not is told below), a budget reserved durably before hardware is asked, an audit entry on disk before the signature is released.

## What was to be reached

${table(
  ['', 'bound', 'aim', 'required steps in C', 'measured', ''],
  figures.all.map((figure) => [
    `${figure.what} (\`${figure.name}\`)`,
    figure.atLeast,
    figure.aim,
    range(figure.steps),
    range(figure.spread),
    verdict(figure),
  ]),
)}
${missed(figures)}
![P-256 on SoftHSM](performance/token.svg)

![P-256 on swtpm](performance/tpm.svg)

## What policy, ledger and audit add

One daemon whose parts depend on the agent, each composition with one part more than the one before it. Differences
within a round; CPU of daemon and module hosts at 8 connections, median latency at 1 connection. A part that waits
for the disk adds latency and little CPU.

${table(['', 'CPU added, µs', 'p50 added, µs'], [added(results, 'policy', 'bare', 'policy: facts, Cedar, obligations'), added(results, 'asked', 'bare', 'the same, with a policy that reads the amount: Cedar is asked each time'), added(results, 'ledger', 'policy', 'ledger: a durable reservation, settled after'), added(results, 'pay', 'ledger', 'audit: a durable entry before release, its outcome after'), added(results, 'pay', 'bare', 'all three')])}

## Where one full signature's time goes

CPU of the composed daemon with everything on, 8 connections, as the kernel counts it; the main thread's is divided by
the shares that V8's profiler sees (self time; libraries and the rooms that serve all others count for who calls
them).

${table(['stage', 'µs'], [...stages.map(({ name, us }) => [name, range(us)]), ['**together**', `**${Math.round(stages.reduce((sum, { us }) => sum + us.median, 0))}**`]])}

![One full signature by stage](performance/stages.svg)

## What scale costs

${table(
  ['', ''],
  details.map(({ what, spread: found }) => [what, range(found)]),
)}

A signature of ten agents in turn, too, brings its key into one of the TPM's three slots first; what that costs the
raw loop is taken from both sides of \`agents_10k_vs_10\`. The daemon of that measurement has no issuer, so its
signatures are judged and recorded and cost no budget. \`issuances_per_s\` is the issuances for one second of
CPU of a saturated issuer and its module hosts. It is saturated by 32 hosts whose TPMs are OpenSSL keys in one process,
which runs the daemon's own code: what they send, and what the issuer verifies, signs and writes, is in every octet
what it is with a chip, and its limits are what an operator may set. With one host, a real daemon over swtpm, the TPM
is the limit, and the issuer, asked some twenty times a second, never warm.

${slow.length === 0 ? '' : slowSection(slow)}
## Everything measured

![Kinds of key and of signature](performance/kinds.svg)

The p99 with 256 connections is that of their first requests, which are more than one in a hundred of a second’s: each connection is
accepted in a turn of its own ([load.md](load.md)).

${table(
  ['', 'a second', 'p50 µs', 'p99 µs', 'daemon CPU µs', 'module host CPU µs', 'load generator CPU µs'],
  [...results].map(([name, samples]) => everything(name, samples)),
)}
`;
}

/** Of each missed bound why, as far as it is written down. */
function missed({ all }: Figures): string {
  const lines = all.filter((figure) => verdict(figure) === 'missed').map(({ name }) => reasonLine(name));
  return lines.length === 0 ? '' : `\nMissed, and why:\n\n${lines.join('\n')}\n`;
}

function added(results: Results, more: Composition, less: Composition, what: string): readonly string[] {
  const of = (connections: number, pick: (sample: Sample) => number): string =>
    range(difference(results, compositionName(more, connections), compositionName(less, connections), pick));
  return [what, of(8, daemonCpuUs), of(1, ({ p50Us }) => p50Us)];
}

function everything(name: string, samples: readonly Sample[]): readonly string[] {
  const cell = (pick: (sample: Sample) => number | undefined): string => {
    const values = samples.map(pick).filter((value) => value !== undefined);
    return values.length === 0 ? '-' : range(spread(values));
  };
  return [
    name,
    cell(({ opsPerS }) => opsPerS),
    cell(({ p50Us }) => p50Us),
    cell(({ p99Us }) => p99Us),
    cell(({ serverCpuUs }) => serverCpuUs),
    cell(({ hostCpuUs }) => hostCpuUs),
    cell(({ loaderCpuUs }) => loaderCpuUs),
  ];
}
