/** What a service does with its manager: prints one JSON line per call named on the command line. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { hardenProcess, listenFds, notify, watchdogIntervalMs } from '../../../src/daemon/process-control.ts';

const say = (value: unknown): void => {
  console.log(JSON.stringify(value ?? null));
};

for (const call of process.argv.slice(2)) {
  try {
    if (call === 'listen') {
      const fds = listenFds();
      say(fds);
      say(Object.keys(process.env).filter((name) => name.startsWith('LISTEN_')));
      const inherited = 'for fd in 3 4; do if [ -S /proc/self/fd/$fd ]; then echo $fd; fi; done';
      say(execFileSync('sh', ['-c', inherited], { encoding: 'utf8' }));
      say(listenFds());
      for (const { fd, name } of fds) createServer((socket) => socket.end(name)).listen({ fd });
    } else if (call === 'harden') {
      hardenProcess();
      say(/^Max core file size +(\S+) +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.slice(1));
      say(statSync('/proc/self/environ').uid);
    } else if (call === 'watchdog') {
      say(watchdogIntervalMs());
    } else {
      say(notify(call));
    }
  } catch (error) {
    say(error instanceof Error && 'code' in error ? error.code : String(error));
  }
}
