/**
 * URL of the module `name` (relative, without extension) beside the importer, with the importer's own
 * extension: a worker or child process is `.ts` when run from source and `.js` when run from `dist`.
 */
export function siblingModule(importMetaUrl: string, name: string): URL {
  const extension = importMetaUrl.slice(importMetaUrl.lastIndexOf('.'));
  return new URL(`${name}${extension}`, importMetaUrl);
}
