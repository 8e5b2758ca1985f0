/** S10: an executable narrows who calls and bounds nobody, since whoever inherits the socket may be another program. */
import { attributePath, node, sides, type Conjunct, type Expression } from './expression.ts';
import { readsOf } from './reads.ts';

/** Facts that bound a caller. */
const BOUNDARIES = new Set(['uid', 'gid', 'groups', 'unit', 'containerId', 'ingressAgent', 'roles']);
const NARROWING = 'executableSha256';

/** Whether a permit reads the executable and no conjunct of its own selects a caller by a boundary. */
export function selectsByExecutableOnly(conjuncts: readonly Conjunct[], caller: string | undefined): boolean {
  const readsExecutable = conjuncts.some(({ body }) => readsOf([body]).reads.principal.has(NARROWING));
  if (!readsExecutable || caller !== undefined) return false;
  return !conjuncts.some(({ kind, body }) => kind === 'when' && selects(body));
}

/** Holds for callers of certain boundary facts only. */
function selects(expression: Expression): boolean {
  const { operator, operand } = node(expression);
  const both = sides(operand);
  if (both === undefined) return false;
  const [left, right] = both;
  switch (operator) {
    case '||':
      return selects(left) && selects(right);
    case '&&':
      return selects(left) || selects(right);
    case '==':
      return (isBoundary(left) && !isBoundary(right)) || (isBoundary(right) && !isBoundary(left));
    case 'contains':
      return isBoundary(left) !== isBoundary(right);
    case 'containsAll':
    case 'containsAny':
      return isBoundary(left);
    default:
      return false;
  }
}

function isBoundary(expression: Expression): boolean {
  const path = attributePath(expression);
  if (path?.[0] !== 'principal') return false;
  return path.length === 1 || (path.length === 2 && BOUNDARIES.has(path[1] ?? ''));
}
