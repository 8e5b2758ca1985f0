/** What every command gets: the two sockets, and where output goes. */
import { connect, type AgentKeyClient } from '../client/index.ts';
import { shownJson, shownLines } from './shown.ts';

export const DEFAULT_ADMIN_SOCKET = '/run/agentkeyd-admin/agentkeyd.sock';

export interface GlobalOptions {
  readonly socket?: string;
  readonly adminSocket?: string;
  readonly json?: boolean;
  readonly timeout: number;
}

export interface Streams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Told the exit status of a program that was run, which becomes that of `agentkey`. */
  readonly ended?: (status: number) => void;
}

/**
 * Runs `work` with a client, closes it, and prints what `work` returns: `--json` prints the value itself,
 * else `human` renders it.
 */
export async function run<T>(
  options: GlobalOptions,
  streams: Streams,
  which: 'shared' | 'admin',
  work: (client: AgentKeyClient) => Promise<T>,
  human: (value: T) => string,
): Promise<void> {
  print(options, streams, await withClient(options, which, work), human);
}

/** Runs `work` with a client and closes it. */
export async function withClient<T>(
  options: GlobalOptions,
  which: 'shared' | 'admin',
  work: (client: AgentKeyClient) => Promise<T>,
): Promise<T> {
  const client = connect({ ...socketFor(options, which), timeoutMs: options.timeout * 1000 });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** Prints a value: `--json` the value itself, else what `human` makes of it; neither steers the terminal. */
export function print<T>(
  options: GlobalOptions,
  streams: Streams,
  value: T,
  human: (value: T) => string,
): void {
  const text = options.json === true ? shownJson(value, 2) : shownLines(human(value));
  if (text !== '') streams.out(text.endsWith('\n') ? text : `${text}\n`);
}

/** Flags win over the environment, the environment over the packaged path (DECISIONS 10). */
function socketFor(options: GlobalOptions, which: 'shared' | 'admin'): { readonly socketPath?: string } {
  if (which === 'admin') {
    return {
      socketPath: options.adminSocket ?? process.env['AGENTKEYD_ADMIN_SOCKET'] ?? DEFAULT_ADMIN_SOCKET,
    };
  }
  return options.socket === undefined ? {} : { socketPath: options.socket };
}
