/**
 * Entry point of the module host (S17): the process that loads the vendor's PKCS#11 module, and nothing else.
 * It has one descriptor, the socketpair from the daemon, and reads it blocking: requests are answered one at a
 * time, so no operation meets another on the module, and there is no event loop between the socket and the token.
 * It ends when the daemon closes its end. It is started with Node's permission model: no child processes, no
 * workers, no writing of files by JavaScript.
 */
import { readSync, writeSync } from 'node:fs';
import { closeInherited } from './inherited-descriptors.ts';
import { ModuleHostCommands } from './module-host-commands.ts';
import { DAEMON_DESCRIPTOR, FrameReader } from './module-host-protocol.ts';

const READ_OCTETS = 256 * 1024;

function serve(): void {
  const commands = new ModuleHostCommands();
  const reader = new FrameReader();
  const input = Buffer.alloc(READ_OCTETS);
  for (;;) {
    const length = readSync(DAEMON_DESCRIPTOR, input);
    if (length === 0) return;
    // Each reply by itself, so that the daemon verifies one signature while this side makes the next.
    for (const frame of reader.push(input.subarray(0, length))) writeAll(commands.answer(frame));
    // A PIN may have come through here.
    input.fill(0, 0, length);
  }
}

function writeAll(octets: Buffer): void {
  let written = 0;
  while (written < octets.length) written += writeSync(DAEMON_DESCRIPTOR, octets, written);
}

// A terminal and systemd signal the whole group, and the daemon still drains: it is the daemon that ends this
// process, by closing the socket, or by SIGKILL.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

closeInherited(DAEMON_DESCRIPTOR);
serve();
