import { attributePath, literalSet, node, sides, type Conjunct, type Expression } from './expression.ts';

/** Which of a metered document's members may be there has to be said, or what else is in it goes unjudged (S7). */
export function listsMembers(conjuncts: readonly Conjunct[], document: 'body' | 'query' | 'claims'): boolean {
  return conjuncts.some(({ kind, body }) => {
    if (kind !== 'when') return false;
    const { operator, operand } = node(body);
    const both = sides(operand);
    if (both === undefined) return false;
    const [left, right] = both;
    if (operator === 'containsAll') return isLiteralSet(left) && isMembers(right, document);
    if (operator !== '==') return false;
    return (
      (isLiteralSet(left) && isMembers(right, document)) || (isLiteralSet(right) && isMembers(left, document))
    );
  });
}

function isLiteralSet(expression: Expression): boolean {
  return literalSet(expression) !== undefined;
}

function isMembers(expression: Expression, document: string): boolean {
  return attributePath(expression)?.join('.') === `context.${document}.members`;
}
