/** For `node --import`: runs an example over the sources instead of the package, whose own name it imports. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const ROOT = join(import.meta.dirname, '..', '..');
const VERIFY = pathToFileURL(join(ROOT, 'src', 'verify', 'index.ts')).href;

export const EXAMPLE_HOOK = `data:text/javascript,${encodeURIComponent(
  `import { registerHooks } from 'node:module';
   registerHooks({ resolve: (name, context, next) => next(name === 'agentkeyd/verify' ? ${JSON.stringify(VERIFY)} : name, context) });`,
)}`;

export const exampleFile = (name: string): string => join(ROOT, 'examples', name);
