/** Appends to a journal until the file size limit of its shell stops it; tells how the journal took it. */
import { openJournal } from '../../../../src/base/journal.ts';
import { asKeydError } from '../../../../src/wire/problem.ts';

process.on('SIGXFSZ', () => undefined);
const [directory = ''] = process.argv.slice(2);
const journal = await openJournal({
  directory,
  name: 'full',
  failure: 'audit_unavailable',
  onRecord: () => undefined,
});

const code = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'durable',
    (thrown: unknown) => asKeydError(thrown).code,
  );

let first = 'durable';
while (first === 'durable') first = await code(journal.append(Buffer.alloc(1000, 1)).durable);
const later = await code(journal.append(Buffer.from('later')).durable);
process.stdout.write(JSON.stringify({ first, later, flush: await code(journal.flush()) }));
