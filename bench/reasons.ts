/**
 * Why a bound of figures.ts is missed, by the figure's name: what the profile shows, what the limit is. The report
 * prints it beside the figure as long as the bound is missed, so that making the report anew loses nothing.
 */
export const REASONS: Readonly<Record<string, string>> = {};
