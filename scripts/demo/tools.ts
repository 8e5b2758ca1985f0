/** Programs that nobody here wrote, asked for their opinion. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface ToolOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

/** Standard output of a tool that has to succeed. */
export async function tool(
  name: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<string> {
  const child = run(name, args, { env: { ...process.env, ...options.env }, timeout: 60_000 });
  if (options.input !== undefined) child.child.stdin?.end(options.input);
  return (await child).stdout;
}

/** What a tool that has to fail said on standard error; undefined where it succeeded. */
export async function toolRefusal(
  name: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<string | undefined> {
  try {
    await tool(name, args, options);
    return undefined;
  } catch (thrown) {
    const { stderr, message } = thrown as { readonly stderr?: string; readonly message: string };
    return stderr === undefined || stderr === '' ? message : stderr;
  }
}
