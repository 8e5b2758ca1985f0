/** `issuances`: the log, one JSON document a line. */
import type { IssuerConfig } from '../config.ts';
import { openIssuerStore } from '../store/issuer-store.ts';
import type { Output } from './output.ts';

export async function listIssuances(
  config: IssuerConfig,
  from: number,
  limit: number,
  output: Output,
): Promise<void> {
  const store = openIssuerStore(config.stateDirectory);
  try {
    for (const logged of await store.issuances.read(from, limit)) output.line(JSON.stringify(logged));
  } finally {
    store.close();
  }
}
