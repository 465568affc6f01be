// Previews from the service, for pictures that this browser cannot show, or does not have.

import { isReadable } from './upload.js';

/**
 * A JPEG of an item that is done, from the service: `{ blob, drawn }`.
 *
 * `drawn` tells whether boxes are in it. `blob` is null if there is none to be had any more.
 */
export async function previewOf(item, service) {
  if (item.blob && (await isReadable(item.blob))) {
    const plain = await plainPreview(item, service);
    if (plain.ok) return { blob: await plain.blob(), drawn: false };
  }
  const { taskId, index } = item.origin;
  const answer = await service.ask(`/result/${taskId}/images/${index}`);
  return { blob: answer.ok ? await answer.blob() : null, drawn: true };
}

/** Nothing is so sure that a box of it would be drawn. */
function plainPreview({ blob, name }, service) {
  const body = new FormData();
  body.append('file', blob, name);
  const headers = { Accept: 'image/jpeg' };
  return service.ask('/detect?confidence=1', { method: 'POST', body, headers });
}
