// Encodes pictures as JPEG, by a canvas.

/**
 * `picture` in `width` × `height` pixels, with what `paint(context)` adds.
 *
 * Answers null where that is more than this browser can draw. What is transparent becomes white, as
 * the service sees it: JPEG has no such thing.
 */
export function toJpeg(picture, width, height, quality, paint = () => {}) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0, width, height);
  paint(context);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', quality));
}
