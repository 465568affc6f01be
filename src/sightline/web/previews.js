// A copy of a picture that every browser can show: not all can show a TIFF.

import { isReadable } from './upload.js';

/**
 * A JPEG of an item that is done, from the service: `{ blob, drawn }`.
 *
 * `drawn` tells whether boxes are in it. `blob` is null if there is none to be had any more.
 */
export async function copyOf(item, service) {
  if (item.blob && (await isReadable(item.blob))) {
    const plain = await plainCopy(item, service);
    if (plain.ok) return { blob: await plain.blob(), drawn: false };
  }
  const { task, index } = item.origin;
  const answer = await service.ask(`/result/${task}/images/${index}`);
  return { blob: answer.ok ? await answer.blob() : null, drawn: true };
}

/** Nothing is so sure that a box of it would be drawn. */
function plainCopy({ blob, name }, service) {
  const body = new FormData();
  body.append('file', blob, name);
  const headers = { Accept: 'image/jpeg' };
  return service.ask('/detect?confidence=1', { method: 'POST', body, headers });
}
