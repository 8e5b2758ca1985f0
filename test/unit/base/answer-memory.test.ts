import { expect, it } from 'vitest';
import { AnswerMemory } from '../../../src/base/answer-memory.ts';

function counted() {
  const memory = new AnswerMemory<string>();
  const asked: string[] = [];
  const ask = (question: string): string =>
    memory.answer(question, () => {
      asked.push(question);
      return `answer to ${question}`;
    });
  return { memory, asked, ask };
}

it('asks a question once, and each question for itself', () => {
  const { asked, ask } = counted();
  expect([ask('a'), ask('b'), ask('a')]).toEqual(['answer to a', 'answer to b', 'answer to a']);
  expect(asked).toEqual(['a', 'b']);
});

it('keeps what is asked now and then through any number of questions asked once, and is bounded', () => {
  const { memory, asked, ask } = counted();
  for (let number = 0; number < 50_000; number += 1) {
    ask(`once ${number}`);
    if (number % 1000 === 0) ask('often');
  }
  expect(asked.filter((question) => question === 'often')).toHaveLength(1);
  expect(memory.size).toBeLessThanOrEqual(8192);
});

it('does not remember what is longer than it would keep', () => {
  const { memory, asked, ask } = counted();
  const long = 'x'.repeat(2049);
  ask(long);
  ask(long);
  expect(asked).toHaveLength(2);
  expect(memory.size).toBe(0);
});
