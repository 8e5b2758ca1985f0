#!/usr/bin/env node
/**
 * `npm run bench`: what a signature costs, as ratios against raw loops and peers on the same hardware in the same
 * run. `--short` takes under ten minutes; `--json` makes the last line one JSON object; `--report` writes
 * docs/performance.md and its plots.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measure } from './harness/measurement.ts';
import { compileRaw } from './harness/run-raw.ts';
import { figures, toJson } from './figures.ts';
import { FULL_SIZES, SHORT_SIZES } from './subjects/scale/context.ts';
import { writeReport } from './report.ts';
import { runSlow } from './slow/run.ts';
import { slowJson, slowLines } from './slow/section.ts';
import { startSubjects } from './subjects/all.ts';

const USAGE = `Usage: npm run bench -- [options]

  --short            fewer and shorter rounds, fewer agents and audit entries: ten minutes
  --rounds N         rounds of every measurement (default 7, short 5)
  --seconds S        of each measurement in each round (default 2, short 1)
  --only TEXT        only measurements whose name contains TEXT (or one of TEXT|TEXT); \`scale\` is what scale costs
  --slow             instead: what callers get of a TPM of 30 ms a signature, and beside one that floods (as root)
  --json             the last line is one JSON object
  --report           write docs/performance.md and docs/performance/*.svg, with the short form of --slow in it: five minutes more
  --help
`;

const SCALE_ROUNDS = 5;
const PROFILE_PASSES = 3;
const NOTHING = { figures: {}, details: [] };

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    slow: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const say = (line: string): void => void process.stderr.write(`${line}\n`);

if (values.help) {
  process.stdout.write(USAGE);
} else if (values.slow) {
  const slow = await runSlow({ short: values.short }, say);
  for (const line of slowLines(slow)) process.stdout.write(`${line}\n`);
  if (values.json) process.stdout.write(`${JSON.stringify(slowJson(slow))}\n`);
} else {
  const rounds = positive(values.rounds, values.short ? 5 : 7, 'rounds');
  const seconds = positive(values.seconds, values.short ? 1 : 2, 'seconds');
  const dir = await mkdtemp(join(tmpdir(), 'agentkeyd-bench-'));
  const programs = join(dir, 'bin');
  say('compiling the raw loops');
  await compileRaw(programs);
  say('starting TPM, token, issuer, daemons and peers (all in software on this machine)');
  const subjects = await startSubjects(dir, programs, values.short, say);
  try {
    const wanted = subjects.groups.map((group) =>
      group.filter(({ name }) => (values.only ?? '').split('|').some((part) => name.includes(part))),
    );
    const results = await measure(wanted, rounds, seconds, say);
    const sizes = values.short ? SHORT_SIZES : FULL_SIZES;
    const scale = values.only === undefined || values.only.split('|').includes('scale');
    const once = scale
      ? await subjects.measureOnce({ dir: join(dir, 'scale'), programs, sizes, rounds: SCALE_ROUNDS, say })
      : NOTHING;
    const stages = scale ? await subjects.profile(PROFILE_PASSES) : [];
    const found = figures(results, once.figures, sizes);
    for (const line of found.lines) process.stdout.write(`${line}\n`);
    if (values.report) {
      const isRoot = process.getuid?.() === 0;
      if (!isRoot) say('slow hardware and floods are left out of the report: two users take root');
      await writeReport({
        results,
        figures: found,
        details: once.details,
        stages,
        slow: isRoot && values.only === undefined ? await runSlow({ short: true }, say) : [],
        rounds,
        seconds,
        command: commandLine(),
      });
    }
    if (values.json) process.stdout.write(`${JSON.stringify(toJson(found))}\n`);
  } finally {
    await subjects.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

function positive(text: string | undefined, otherwise: number, name: string): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new RangeError(`--${name} takes a positive number`);
  return value;
}

function commandLine(): string {
  return ['npm run bench --', ...process.argv.slice(2)].join(' ');
}
