/** Tells the demo: numbered steps, facts, and checks that are counted. */

let passed = 0;
let failed = 0;
let steps = 0;

const dim = (text: string): string => (process.stdout.isTTY ? `\u001b[2m${text}\u001b[0m` : text);
const bold = (text: string): string => (process.stdout.isTTY ? `\u001b[1m${text}\u001b[0m` : text);

export function step(title: string): void {
  steps += 1;
  console.log(`\n${bold(`${steps}. ${title}`)}`);
}

export function fact(name: string, value: string): void {
  console.log(`   ${name.padEnd(22)} ${value}`);
}

/** A check that has held, and who made it. */
export function held(what: string, by: string): void {
  passed += 1;
  console.log(`   ok    ${what} ${dim(`[${by}]`)}`);
}

export function broken(what: string, why: string): void {
  failed += 1;
  console.log(`   FAIL  ${what}: ${why}`);
}

/** Checks something; a throw is a failure, told with its message. */
export async function check(what: string, by: string, act: () => unknown): Promise<void> {
  try {
    await act();
    held(what, by);
  } catch (thrown) {
    broken(what, thrown instanceof Error ? thrown.message : String(thrown));
  }
}

/**
 * Expects a refusal: `act` returns the reason as text, or undefined where it was not refused.
 * @param reason what the refusal has to say
 */
export async function refused(
  what: string,
  reason: RegExp,
  act: () => Promise<string | undefined>,
): Promise<void> {
  const said = await act();
  if (said === undefined) broken(what, 'was NOT refused');
  else if (!reason.test(said)) broken(what, `refused for another reason: ${said}`);
  else {
    passed += 1;
    console.log(`   ok    refused: ${what}\n         ${dim(telling(said, reason))}`);
  }
}

/** `abcdef...` for values whose whole is of no interest. */
export function short(value: string, length = 24): string {
  return value.length <= length ? value : `${value.slice(0, length)}…`;
}

/** Prints the closing line and returns the exit status. */
export function close(): number {
  console.log(`\ndemo: ${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** The line of `said` that gives the reason. */
function telling(said: string, reason: RegExp): string {
  const line = said.split('\n').find((text) => reason.test(text)) ?? said;
  return short(line.trim(), 160);
}
