/**
 * The daemon with what the agent's name says: `bare-*` without policy and audit, `policy-*`, `asked-*` and
 * `ledger-*` without audit, any other with everything. One process, so that the differences are those of the parts. For the bench
 * only. SIGUSR2 begins a CPU profile, and the next ends it, in `profile.json` beside the state.
 *
 *   node bench/subjects/composed-daemon.ts --config FILE
 */
import { Session } from 'node:inspector/promises';
import { rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createLogger } from '../../src/base/logger.ts';
import { composeDaemon } from '../../src/daemon/compose.ts';
import { loadConfig } from '../../src/daemon/config.ts';
import { parseFlags } from '../../src/daemon/flags.ts';
import { notify } from '../../src/daemon/process-control.ts';
import type { Recorder } from '../../src/policy/recorder.ts';
import type { PolicyEngine } from '../../src/policy/verdict.ts';
import { PERMIT_ALL, RECORD_NOTHING } from './replaced-parts.ts';

const SAMPLE_INTERVAL_US = 200;

const withoutPolicy = (agent: string): boolean => agent.startsWith('bare-');
const withoutAudit = (agent: string): boolean => /^(bare|policy|asked|ledger)-/.test(agent);

function engineByName(shipped: PolicyEngine): PolicyEngine {
  return {
    fingerprint: shipped.fingerprint,
    mayRawSign: (agentName) => shipped.mayRawSign(agentName),
    evaluate: (request) => (withoutPolicy(request.agent.name) ? PERMIT_ALL : shipped).evaluate(request),
  };
}

function recorderByName(shipped: Recorder): Recorder {
  return {
    decision: (entry) => (withoutAudit(entry.agent?.name ?? '') ? RECORD_NOTHING : shipped).decision(entry),
  };
}

/** One profile at a time: the first signal begins it, the next one ends it. */
function profileOnSignal(file: string): void {
  const session = new Session();
  session.connect();
  let running = false;
  const toggle = async (): Promise<void> => {
    running = !running;
    if (running) {
      await session.post('Profiler.enable');
      await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_INTERVAL_US });
      await session.post('Profiler.start');
      return;
    }
    const { profile } = await session.post('Profiler.stop');
    await writeFile(`${file}.new`, JSON.stringify(profile));
    await rename(`${file}.new`, file);
  };
  process.on('SIGUSR2', () => void toggle());
}

const flags = parseFlags(process.argv.slice(2));
const config = loadConfig(flags, process.env);
const logger = createLogger({ name: 'composed', level: 'error' });
const daemon = await composeDaemon(config, 'bench', logger, {
  engine: engineByName,
  recorder: recorderByName,
});
await daemon.start(new Map());
profileOnSignal(join(dirname(config.stateDirectory), 'profile.json'));
notify('READY=1');
process.on('SIGHUP', () => {
  daemon.reload(loadConfig(flags, process.env).policy);
});
process.on('SIGTERM', () => {
  void daemon.stop().then(() => process.exit(0));
});
