/** The policy set of the demo's sandbox. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentKeyClient } from 'agentkeyd/client';

export class PolicySet {
  readonly #operator: AgentKeyClient;
  readonly #directory: string;

  /** @param operator on the admin socket */
  constructor(operator: AgentKeyClient, directory: string) {
    this.#operator = operator;
    this.#directory = directory;
  }

  /** Adds a file and puts the set in force; with a fault in it the daemon keeps the old one and says why. */
  async add(name: string, text: string): Promise<void> {
    await writeFile(join(this.#directory, `${name}.cedar`), text);
    await this.#operator.call('POST', '/v1/policy/reload', {});
  }
}
