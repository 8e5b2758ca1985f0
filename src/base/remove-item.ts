/**
 * Takes the first `item` out of a list that is kept in order; false where it is not in it. Lists that requests come into
 * and go from are arrays, searched from the front, where what has been there longest is (docs/decisions/0048).
 */
export function removeItem<T>(list: T[], item: T): boolean {
  const place = list.indexOf(item);
  if (place < 0) return false;
  list.splice(place, 1);
  return true;
}
