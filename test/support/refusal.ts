import { KeydError } from '../../src/wire/problem.ts';

/** Code and message of the refusal, as `code: message`; `accepted` where `act` succeeds. */
export function refusalOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof KeydError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
  return 'accepted';
}

/** As `refusalOf`, for what may be a promise. */
export async function refusalOfAsync(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (thrown) {
    if (thrown instanceof KeydError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
  return 'accepted';
}
