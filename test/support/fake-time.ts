import { afterEach, beforeEach, vi } from 'vitest';

/** Every test of the file has a clock of its own, which stands until the test moves it. */
export function useFakeTime(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}
