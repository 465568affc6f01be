// Large photographs, made smaller before they are sent.

export const LONGEST = 1920; // pixels of the longer side
const QUALITY = 0.9;

/**
 * What to send of a file, and how large the upright picture in it is.
 *
 * Answers `{blob, width, height}`; `blob` is the file itself where it is small enough, and sizes
 * are null where this browser cannot read it: the service may.
 */
export async function shrink(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, width: null, height: null };
  const { width, height } = bitmap;
  const scale = LONGEST / Math.max(width, height);
  const blob = scale < 1 ? await redraw(bitmap, scale) : null;
  bitmap.close();
  return { blob: blob && blob.size < file.size ? blob : file, width, height };
}

async function redraw(bitmap, scale) {
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', QUALITY));
}
