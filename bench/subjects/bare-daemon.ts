/**
 * The daemon without policy, audit and ledger: what HTTP, the queue and the hardware cost by themselves. For
 * the bench only; nothing that ships can be put together like this.
 *
 *   node bench/subjects/bare-daemon.ts --config FILE
 */
import { createLogger } from '../../src/base/logger.ts';
import { composeDaemon } from '../../src/daemon/compose.ts';
import { loadConfig } from '../../src/daemon/config.ts';
import { parseFlags } from '../../src/daemon/flags.ts';
import { notify } from '../../src/daemon/process-control.ts';
import { PERMIT_ALL, RECORD_NOTHING } from './replaced-parts.ts';

const config = loadConfig(parseFlags(process.argv.slice(2)), process.env);
const logger = createLogger({ name: 'bare', level: 'error' });
const daemon = await composeDaemon(config, 'bench', logger, {
  engine: () => PERMIT_ALL,
  recorder: () => RECORD_NOTHING,
});
await daemon.start(new Map());
notify('READY=1');
process.on('SIGTERM', () => {
  void daemon.stop().then(() => process.exit(0));
});
