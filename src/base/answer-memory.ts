/**
 * What was answered to a question, by the whole text of the question: for answers that are a function of that text and
 * of nothing else, so that a question put again has the same answer. An answer is shared, so nobody changes it.
 */

/** Of each of two generations: what is asked now and then stays, what was asked once goes. */
const MAX_ANSWERS = 4096;
/** 8 MiB a generation at most; a longer question is asked anew. */
const MAX_QUESTION_CHARACTERS = 2048;

export class AnswerMemory<T> {
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  /** The answer that is remembered, or that `ask` gives now. */
  answer(question: string, ask: () => T): T {
    const recent = this.#young.get(question);
    if (recent !== undefined) return recent;
    const answer = this.#old.get(question) ?? ask();
    if (question.length <= MAX_QUESTION_CHARACTERS) this.#keep(question, answer);
    return answer;
  }

  /** How many answers are remembered, for tests. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  #keep(question: string, answer: T): void {
    if (this.#young.size >= MAX_ANSWERS) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(question, answer);
  }
}
