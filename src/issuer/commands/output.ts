/** What the operator sees: lines for people, or one JSON document with `--json`. */
export interface Output {
  readonly line: (text: string) => void;
}

export const standardOutput: Output = {
  line: (text) => {
    process.stdout.write(`${text}\n`);
  },
};

/** Unix seconds as ISO 8601. */
export function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
