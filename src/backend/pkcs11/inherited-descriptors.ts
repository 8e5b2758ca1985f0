/** Descriptors that came over exec because some library of the daemon opened them without O_CLOEXEC (S17). */
import { closeSync, readdirSync, readlinkSync } from 'node:fs';

/** Node's own descriptors are pipes and anonymous inodes; null stands for standard input, output and error. */
const HARMLESS = /^(?:anon_inode:|pipe:|\/dev\/null$)/;

/**
 * Closes every file, device and socket but `keep`, before a module is loaded. tpm2-tss, for one, opens
 * /dev/tpmrm0 without O_CLOEXEC, and whoever inherits that descriptor speaks to the TPM as the daemon does.
 * Nothing can be marked in the parent instead: its TPM thread may open the device while this process is forked.
 */
export function closeInherited(keep: number): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor !== keep && !isHarmless(name)) closeSync(descriptor);
  }
}

function isHarmless(name: string): boolean {
  try {
    return HARMLESS.test(readlinkSync(`/proc/self/fd/${name}`));
  } catch (thrown) {
    // The descriptor of the listing itself, closed by now.
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return true;
    throw thrown;
  }
}
