/** Where the main thread's time went, from a V8 CPU profile. */

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string };
  readonly children?: readonly number[];
}

/** `Profiler.Profile` of the Chrome DevTools protocol, as far as it is read. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Ids of the nodes on top, by sample. */
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

/**
 * Self time in microseconds by stage. What has no stage of its own (Node, a library, the rooms that serve all
 * others) counts for its nearest caller that has one; `idle` is left out.
 * @param stageOf the stage of a file, if it has one
 * @param outside the stage of what no stage has called
 */
export function timeByStage(
  { nodes, samples, timeDeltas }: CpuProfile,
  stageOf: (url: string) => string | undefined,
  outside: string,
): ReadonlyMap<string, number> {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const stages = new Map<number, string | undefined>();
  const assign = (id: number, caller: string | undefined): void => {
    const node = byId.get(id);
    if (node === undefined) return;
    const stage = special(node) ?? stageOf(node.callFrame.url) ?? caller;
    stages.set(id, stage);
    for (const child of node.children ?? []) assign(child, stage);
  };
  const [root] = nodes;
  if (root !== undefined) for (const child of root.children ?? []) assign(child, undefined);
  const times = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const stage = stages.get(id) ?? outside;
    if (stage === IDLE) continue;
    times.set(stage, (times.get(stage) ?? 0) + Math.max(0, timeDeltas[index] ?? 0));
  }
  return times;
}

const IDLE = 'idle';

function special({ callFrame: { functionName } }: ProfileNode): string | undefined {
  if (functionName === '(idle)') return IDLE;
  if (functionName === '(garbage collector)') return 'garbage collection';
  return undefined;
}
