/**
 * `process.exit` runs no hooks of the environment, so a thread of an addon would go on while the process is taken
 * apart around it. What is registered here is ended before.
 */
interface Ended {
  readonly end: () => void;
}

const living = new Set<WeakRef<Ended>>();
process.on('exit', () => {
  for (const entry of living) entry.deref()?.end();
});

/** Has `end` called when the process exits, unless the object is collected before. Returns what undoes it. */
export function endAtExit(object: Ended): () => void {
  for (const entry of living) if (entry.deref() === undefined) living.delete(entry);
  const entry = new WeakRef(object);
  living.add(entry);
  return () => {
    living.delete(entry);
  };
}
