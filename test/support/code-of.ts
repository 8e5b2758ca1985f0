import { KeydError } from '../../src/wire/problem.ts';

/** The code that `act` fails with; undefined where it succeeds. Anything but a KeydError is thrown on. */
export function codeOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof KeydError) return error.code;
    throw error;
  }
  return undefined;
}

/** As `codeOf`, for what may be a promise. */
export async function codeOfAsync(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
  } catch (error) {
    if (error instanceof KeydError) return error.code;
    throw error;
  }
  return undefined;
}
