/** Cedar expressions in their JSON form (docs.cedarpolicy.com/policies/json-format), read-only. */
import type { Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';

export type Expression = Expr;

/** One part of a policy's conditions that must hold by itself. */
export interface Conjunct {
  readonly kind: 'when' | 'unless';
  /** For `unless`, what must not hold. */
  readonly body: Expression;
}

/** The node's operator and operand: every node of the JSON form is an object of one member. */
export function node(expression: Expression): { readonly operator: string; readonly operand: unknown } {
  const [entry] = Object.entries(expression) as [string, unknown][];
  return { operator: entry?.[0] ?? '', operand: entry?.[1] };
}

/** A named part of an operand, such as `left`. */
export function part(operand: unknown, name: string): Expression | undefined {
  if (typeof operand !== 'object' || operand === null || Array.isArray(operand)) return undefined;
  const value: unknown = (operand as Record<string, unknown>)[name];
  return isExpression(value) ? value : undefined;
}

/** Both sides of a binary operator, in order. */
export function sides(operand: unknown): readonly [Expression, Expression] | undefined {
  const left = part(operand, 'left');
  const right = part(operand, 'right');
  return left === undefined || right === undefined ? undefined : [left, right];
}

/** Every direct sub-expression, whatever the operator. A literal has none. */
export function children(expression: Expression): readonly Expression[] {
  const { operator, operand } = node(expression);
  if (operator === 'Value' || operator === 'Var' || operator === 'Slot') return [];
  if (Array.isArray(operand)) return operand.filter(isExpression);
  if (typeof operand !== 'object' || operand === null) return [];
  return Object.values(operand as Record<string, unknown>).filter(isExpression);
}

function isExpression(value: unknown): value is Expression {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).length === 1 &&
    // The pattern of `like` is { Literal: ... }, which is no expression.
    !('Literal' in value)
  );
}

/** Conditions as the smallest parts that must hold each: `when` split at &&, `unless` at ||. */
export function conjunctsOf(policy: PolicyJson): readonly Conjunct[] {
  return policy.conditions.flatMap(({ kind, body }) =>
    flatten(body, kind === 'when' ? '&&' : '||').map((piece) => ({ kind, body: piece })),
  );
}

/** An expression as the smallest parts that one operator joins. */
export function flatten(expression: Expression, operator: '&&' | '||'): readonly Expression[] {
  const { operator: own, operand } = node(expression);
  const both = own === operator ? sides(operand) : undefined;
  return both === undefined ? [expression] : [...flatten(both[0], operator), ...flatten(both[1], operator)];
}

/** `root.a.b` as ["root", "a", "b"], where the expression is nothing but that. */
export function attributePath(expression: Expression): readonly string[] | undefined {
  const { operator, operand } = node(expression);
  if (operator === 'Var') return [String(operand)];
  if (operator !== '.') return undefined;
  const left = part(operand, 'left');
  const attribute = (operand as { attr?: unknown }).attr;
  const before = left === undefined ? undefined : attributePath(left);
  return before === undefined || typeof attribute !== 'string' ? undefined : [...before, attribute];
}

/** The value of a literal string, number or boolean. */
export function literal(expression: Expression): string | number | boolean | undefined {
  const { operator, operand } = node(expression);
  if (operator !== 'Value') return undefined;
  return typeof operand === 'string' || typeof operand === 'number' || typeof operand === 'boolean'
    ? operand
    : undefined;
}

/** The values of a set of literals. */
export function literalSet(expression: Expression): readonly (string | number | boolean)[] | undefined {
  const { operator, operand } = node(expression);
  if (operator !== 'Set' || !Array.isArray(operand)) return undefined;
  const values = operand.filter(isExpression).map(literal);
  return values.length === operand.length && values.every((value) => value !== undefined)
    ? values
    : undefined;
}
