/** Which callers a rule is about, by facts that bound them: uid, gid, root-managed unit or container (S10). */
import type { Caller } from '../caller/caller.ts';
import { array, integer, object, optional, refine, text, type Shape } from '../wire/check.ts';

const MAX_ID = 0xffff_fffe;
const MAX_ITEMS = 256;

/** The members of a selector, for shapes that add their own. */
export const callerSelectorMembers = {
  uids: optional(array(integer({ min: 0, max: MAX_ID }), { min: 1, max: MAX_ITEMS })),
  gids: optional(array(integer({ min: 0, max: MAX_ID }), { min: 1, max: MAX_ITEMS })),
  units: optional(
    array(text({ maxLength: 255, pattern: /^[A-Za-z0-9:_.\\@-]+\.(?:service|scope|slice)$/ }), {
      min: 1,
      max: MAX_ITEMS,
    }),
  ),
  containers: optional(array(text({ maxLength: 64, pattern: /^[0-9a-f]{64}$/ }), { min: 1, max: MAX_ITEMS })),
};

/** Every member given must match; within a member, one of its values. */
export interface CallerSelector {
  readonly uids?: readonly number[];
  /** Primary or supplementary. */
  readonly gids?: readonly number[];
  readonly units?: readonly string[];
  readonly containers?: readonly string[];
}

/** Why a selector may not stand, or undefined: one that names nothing would be every caller. */
export function selectorFault(selector: CallerSelector): string | undefined {
  const named = [selector.uids, selector.gids, selector.units, selector.containers];
  return named.every((list) => list === undefined)
    ? 'must name at least one of uids, gids, units, containers'
    : undefined;
}

export const callerSelector: Shape<CallerSelector> = refine(object(callerSelectorMembers), selectorFault);

/** A fact that is not known matches nothing. */
export function matchesCaller(selector: CallerSelector, caller: Caller): boolean {
  const { uids, gids, units, containers } = selector;
  if (selectorFault(selector) !== undefined) return false;
  if (uids !== undefined && !uids.includes(caller.uid)) return false;
  if (gids !== undefined && !gids.some((gid) => gid === caller.gid || caller.groups.includes(gid)))
    return false;
  if (units !== undefined && (caller.unit === undefined || !units.includes(caller.unit))) return false;
  if (containers !== undefined) {
    return caller.containerId !== undefined && containers.includes(caller.containerId);
  }
  return true;
}
